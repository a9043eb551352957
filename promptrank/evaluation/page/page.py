"""The page of a report: a pure function of it, so that its JSON gives the same page again.

Nothing comes from elsewhere: styles are in the page, charts are SVG that the templates draw, and
there is no script. Whatever a report holds is text here: templates escape it, and a content
security policy lets nothing but our own style sheet do anything, should one forget to.
"""

import base64
import hashlib
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from promptrank import __version__
from promptrank.basics.files import write_text
from promptrank.basics.json_files import read_json
from promptrank.basics.plurals import counted
from promptrank.errors import InputError
from promptrank.evaluation.orders import INCOMING
from promptrank.evaluation.page.charts import SIDE, curve
from promptrank.evaluation.page.drift_charts import HEIGHT, WIDTH, drift_charts
from promptrank.evaluation.page.example_orders import strips
from promptrank.evaluation.page.headline import headline
from promptrank.evaluation.page.panels import (
    earned_of,
    judged_of,
    meaning_of,
    orders_of,
    pairs_of,
    panels_of,
    reliable,
    slicings_of_report,
)
from promptrank.evaluation.page.probe_panels import probes_of
from promptrank.evaluation.page.wording import (
    breakable,
    brief,
    minus,
    plain,
    plain_json,
    signed,
    size,
    tick,
)
from promptrank.evaluation.report import Report, write_report
from promptrank.evaluation.report_facts import facts, survival_text
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.requirement_told import requirement_text
from promptrank.evaluation.transfer import transfer_text

ENDINGS = (".html", ".json")
"""What a report may be written as."""

TOLD = frozenset(
    {"reference", "metrics", "draws", "seed", "level", "counts", "rankers", "absent", "seen"}
    | {"cuts", "errors", "notes", "provenance", "pairs", "best_baseline", "survival", "slices"}
    | {"judged", "baselines", "verdict", "requirements", "examples", "off_policy", "orders"}
    | {"transfers", "drift", "probes", "preferences"}
)
"""Fields of a report for which the templates have a place; others are shown as they are."""

_TEMPLATES = Path(__file__).parent / "templates"


def write_as(report: Report, path: Path) -> None:
    """Write a report as the ending of its name says; a page has its JSON beside it."""
    write_report(report, path.with_suffix(".json"))
    if path.suffix == ".html":
        write_page(report, path)


def check_json_beside(path: Path) -> None:
    """Refuse a page whose JSON would overwrite a file that is no report.

    Raises:
        InputError: there is such a file.
    """
    beside = path.with_suffix(".json")
    if path.suffix != ".html" or not beside.exists():
        return
    try:
        known = {"reference", "rankers", "metrics"} <= set(read_json(beside))
    except InputError:
        known = False
    if not known:
        raise InputError(
            f"{path}: the report's JSON goes beside it, and {beside.name} is there and no report; "
            "choose another name"
        )


def write_page(report: Report, path: Path) -> None:
    """Write a report's page."""
    write_text(path, page(report))


def page(report: Report) -> str:
    """A report as HTML."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            report=report,
            head=headline(report),
            panels=list(panels_of(report)),
            judged=list(judged_of(report)),
            pairs=list(pairs_of(report)),
            slicings=list(slicings_of_report(report)),
            reliable=reliable(report),
            orders=list(orders_of(report)),
            probes=probes_of(report),
            facts=list(facts(replace(report, off_policy=None, transfers=()))),  # told above
            more={name: v for name, v in asdict(report).items() if name not in TOLD and v},
            style=Markup(style),
            style_digest=digest,
            version=__version__,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=plain,
    )
    environment.filters |= {
        "num": number,
        "signed": signed,
        "places": "{:g}".format,
        "json": plain_json,
        "tick": tick,
        "minus": minus,
        "brief": brief,
        "breakable": breakable,
        "bytes": size,
        "percent": "{:.0%}".format,
    }
    environment.globals |= {
        "meaning_of": meaning_of,
        "earned_of": earned_of,
        "incoming": INCOMING,
        "curve": curve,
        "drift_charts": drift_charts,
        "drift_width": WIDTH,
        "drift_height": HEIGHT,
        "side": SIDE,
        "strips": strips,
        "survival_text": survival_text,
        "transfer_text": transfer_text,
        "requirement_text": requirement_text,
        "counted": counted,
    }
    return environment
