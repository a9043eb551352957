"""The page of a report: what is on it, that nothing else is, and that no text slips through."""

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.evaluation.agreement import Agreement
from promptrank.evaluation.page.charts import axis_of, curve, round_numbers
from promptrank.evaluation.page.headline import headline
from promptrank.evaluation.page.page import TOLD, page, write_as
from promptrank.evaluation.page.panels import meaning_of
from promptrank.evaluation.page.wording import MINUS, brief, minus, signed, size
from promptrank.evaluation.report import Report, write_report
from promptrank.evaluation.report_file import read_report
from promptrank.evaluation.report_rows import Difference, ReliabilityBin
from promptrank.evaluation.verdict import verdict_of
from promptrank.schema.metric_kinds import KINDS
from support.full_report import example, full_report
from support.html_pages import Element, read_html
from support.reports import report, row

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;{{ 7 * 7 }}"
)
RTL = "\u202e\u05e9\u05dc\u05d5\u05dd\u0000"
DASH = "\N{EN DASH}"


def page_of(given: Report) -> Element:
    return read_html(page(given))


TELLING = {
    "reference": ["decoder"],
    "metrics": ["auc", "log_loss"],
    "draws": ["1,000"],
    "seed": ["4711"],
    "level": ["95%"],
    "counts": ["2,000 candidates", "1,234", "77", "partial: 9 requests"],
    "rankers": [
        ".700",
        f"{MINUS}.150",
        f".650{DASH}.750",
        ".731.613+.119+.082 to +.152",
        "packed-engine",
        "7,171",
        "3.14 MB",
        "83%",
    ],
    "absent": ["an absent ranker"],
    "seen": ["37 of 100", "480 of 500"],
    "cuts": ["events dropped 5,151"],
    "errors": ["no such item 6,161"],
    "notes": ["a note of its own"],
    "provenance": ["toys/like", "duckdb"],
    "pairs": [f"logistic {MINUS} bm25", "+.161"],
    "best_baseline": ["Lift is over logistic"],
    "survival": ["62%", "40% to 80%"],
    "slices": ["1-2", "3-5", "decoder, beside the other slices", f"{MINUS}.118", "+.093"],
    "drift": ["stretches of 7 days after the end of training", f"{MINUS}.016", "2023-11-20", "412"],
    "verdict": ["decoder does not ship."],
    "requirements": ["FAILS: auc .700 is below .900 by .200"],
    "judged": ["decoder"],
    "baselines": ["baseline"],
    "off_policy": [
        "it earned .0429 .0413 to .0437 per request",
        "3,232 places of 209 requests by 50 subjects",
        "6 requests that lost",
        f"{MINUS}.0042",
        f"{MINUS}.0061 to {MINUS}.0017",
        "worth 641 of 3,232 places",
        ".0387",
        "1.06",
        "26.5",
        "808",
        "clipped at 20",
        "a note of the log's",
    ],
    "transfers": [
        "negative transfer on toys/like: decoder (trained with toys/hate too) is worse than",
        f"auc {MINUS}.087 ({MINUS}.112 to {MINUS}.062)",
        "a caveat of the transfer's",
    ],
    "orders": [
        "Beside the order in which the log showed the candidates",
        f"59%52%{DASH}66%",
        f"{MINUS}.273{MINUS}.310 to {MINUS}.220",
        "205",
    ],
    "probes": [
        "sections:history",
        "no past events",
        f"{MINUS}.123",
        f"{MINUS}.200 to {MINUS}.050",
        "auc needs history.",
        "38%30% to 50%",
        ".0871.913 at most",
        ".0429",
        "+.430",
        "43%",
        "151 of 200",
        "12 candidates without a score",
        "99",
        "62%",
        "21%",
        f"m-17 {MINUS}.750",
        "How much history it can use",
        "vars.x set to 1: changes no prompt",
    ],
    "preferences": ["83 pairs of 47 subjects", "decoder agrees with 72% (61% to 83%)"],
    "examples": ["r1-c0", "item r1-i1", "75% of the pairs", "40 candidates, 3 shown"],
}
"""Every field of a report, and words by which a page tells it."""


@pytest.mark.long
def test_every_field_of_a_report_is_told() -> None:
    text = page_of(full_report()).text
    missing = {name: [w for w in words if w not in text] for name, words in TELLING.items()}
    assert {name: words for name, words in missing.items() if words} == {}
    assert set(TELLING) == TOLD


@dataclasses.dataclass(frozen=True)
class LaterReport(Report):
    """With a field that the templates have no place for."""

    weather: tuple[str, ...] = ()


def test_a_field_without_a_place_of_its_own_is_shown_as_it_is() -> None:
    fields = {f.name: getattr(full_report(), f.name) for f in dataclasses.fields(Report)}
    text = page_of(LaterReport(**fields, weather=("<b>rain",))).one("more").text
    assert "weather" in text and "<b>rain" in text
    assert not [e for e in page_of(full_report()).all("section") if e.attributes["id"] == "more"]


def test_what_only_some_reports_have_is_told() -> None:
    text = page_of(full_report()).text
    for words in ("+.317", "9.8.7", ".9876", "3.1e-04", ".125", f".062{DASH}.188", "771", ".913"):
        assert words in text or words.lstrip(".") in text, words
    bare = page_of(report(row("decoder", 0.7)))
    assert {section.attributes["id"] for section in bare.all("section")} == {
        "comparison",
        "facts",
        "provenance",
    }


def test_what_would_be_earned_is_told_once_with_its_sign_and_its_doubt() -> None:
    found = page_of(full_report())
    (chart,) = (e for e in found.one("earned").all("svg") if "aria-label" in e.attributes)
    said = f"decoder: {MINUS}.0042, interval {MINUS}.0061 to {MINUS}.0017, worse"
    assert chart.attributes["aria-label"] == said
    assert "off-policy" not in found.one("facts").text


def test_every_metric_says_in_a_few_words_what_it_is() -> None:
    for name, kind in KINDS.items():
        metric = f"{name}@5~u99" if kind.cutoff == "must" else name
        assert meaning_of(metric) == kind.short and 10 < len(kind.short) < 90
    assert meaning_of("ndcg of tomorrow") == ""


def test_verdict_first_provenance_last() -> None:
    found = page_of(full_report())
    assert [e.tag for e in found.all("header", "main", "footer")] == ["header", "main", "footer"]
    sections = [e.attributes["id"] for e in found.all("section")]
    assert sections == [
        "comparison",
        "earned",
        "slices",
        "drift",
        "reliability",
        "control",
        "probes",
        "orders",
        "facts",
        "examples",
        "provenance",
    ]
    assert found.all("h1")[0].text == headline(full_report()).title == "decoder does not ship."


@pytest.mark.parametrize(
    ("gap", "title"),
    [
        (0.1, "decoder does not ship."),
        (-0.1, "decoder ships."),
        (0.01, "The data cannot tell whether decoder ships."),
    ],
)
def test_the_title_is_the_verdict(gap: float, title: str) -> None:
    made = report(row("decoder", 0.7), row("bm25", 0.7 + gap, gap))
    made = dataclasses.replace(made, verdict=verdict_of(made))
    head = headline(made)
    assert head.title == title
    assert head.duel is not None and head.duel.lead.value == pytest.approx(-gap)
    assert head.duel.other.name == "bm25"


def test_a_report_without_a_verdict_claims_none() -> None:
    assert "beside 1 other" in headline(report(row("decoder", 0.7), row("b", 0.8, 0.1))).title
    assert "alone" in headline(report(row("decoder", 0.7))).title
    good = Agreement(10, 0, 0.0, 0.1, 1.0, 1.0, True)
    bad = dataclasses.replace(good, passed=False)
    for agreement, title in ((good, "All engines"), (bad, "vllm does not score")):
        other = dataclasses.replace(row("vllm", 0.7, 0.0), agreement=agreement)
        assert headline(report(row("decoder", 0.7), other)).title.startswith(title)


def test_the_json_gives_the_same_page_again(tmp_path: Path) -> None:
    made = full_report()
    write_as(made, tmp_path / "r.html")
    again = read_report(tmp_path / "r.json")
    assert again == made
    assert page(again) == (tmp_path / "r.html").read_text("utf-8") == page(made)
    write_as(made, tmp_path / "alone.json")
    assert not (tmp_path / "alone.html").exists()


def test_what_is_no_report_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"reference": 3}')
    with pytest.raises(DataError, match=r"r\.json: not a report \(.*promptrank eval"):
        read_report(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rankers": []}, "ranker 'decoder'"),
        ({"reference": "nobody"}, "ranker 'nobody'"),
        ({"metrics": ["auc", "acu"]}, "acu"),
    ],
)
def test_a_report_that_was_taken_apart_is_told(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "r.json"
    write_as(full_report(), path)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(DataError, match=message):
        read_report(path)


def test_nothing_comes_from_elsewhere() -> None:
    text = page(full_report())
    found = read_html(text)
    assert not found.all("script", "link", "img", "iframe", "object", "base", "use", "image")
    for element in found.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on") and name not in {"src", "style", "srcset"}
            assert name != "href" or re.fullmatch(r"#[a-z]+", value)
    (style,) = found.all("style")
    assert not re.search(r"url\(|@import|@font-face", style.text)
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    policy = found.all("meta")[1].attributes
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")


def test_a_reader_who_does_not_see_finds_the_way() -> None:
    found = page_of(full_report())
    assert found.all("html")[0].attributes["lang"] == "en"
    ids = [e.attributes["id"] for e in found.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in found.all():
        for name in ("aria-labelledby", "for"):
            assert element.attributes.get(name, ids[0]) in ids
        if element.attributes.get("href"):
            assert element.attributes["href"][1:] in ids
    levels = [int(e.tag[1]) for e in found.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for table in found.all("table"):
        assert table.children[0].tag == "caption" and table.children[0].text.strip()
        assert all(e.attributes.get("scope") in {"row", "col"} for e in table.all("th"))
    for svg in found.all("svg"):
        above: Element | None = svg
        told = False
        while above is not None and not told:
            told = above.attributes.get("aria-hidden") == "true" or (
                above.attributes.get("role") == "img" and bool(above.attributes["aria-label"])
            )
            above = above.parent
        assert told, "a chart that nobody hears of"
    for scroll in (e for e in found.all() if e.attributes.get("class") == "scroll"):
        assert scroll.attributes["tabindex"] == "0" and scroll.attributes["aria-label"]
    labels = {e.attributes["for"] for e in found.all("label")}
    assert labels == {e.attributes["id"] for e in found.all("input")}


def test_better_and_worse_differ_in_shape_and_in_words() -> None:
    made = report(row("decoder", 0.7), row("up", 0.8, 0.1), row("down", 0.6, -0.1))
    charts = [e for e in page_of(made).all("svg") if "interval" in e.attributes.get("class", "")]
    up, down = (
        next(e for e in charts if e.attributes["aria-label"][:4] == n) for n in ("up: ", "down")
    )
    assert up.attributes["aria-label"] == "up: +.100, interval +.070 to +.130, better"
    assert down.attributes["aria-label"].endswith("worse")
    assert up.all("path")[0].attributes["d"] != down.all("path")[0].attributes["d"]
    assert "better" in up.attributes["class"] and "worse" in down.attributes["class"]


def test_hostile_text_is_text() -> None:
    made = full_report()
    evil = HOSTILE + RTL + "x" * 5000
    rows = tuple(dataclasses.replace(r, name=evil) if r.name == "bm25" else r for r in made.rankers)
    examples = (dataclasses.replace(example(evil, True, False, text=evil), subject_id=evil),)
    made = dataclasses.replace(
        made,
        rankers=rows,
        examples=examples,
        notes=(evil,),
        absent={evil: evil},
        provenance={"command": evil, "task": evil, "versions": {evil: evil}, evil: evil},
    )
    text = page(made)
    found = read_html(text)
    plain = page_of(full_report())
    tags = {element.tag for element in found.all()}
    assert tags == {element.tag for element in plain.all()}
    shown = found.text
    assert HOSTILE in shown
    assert "\x00" not in text and RTL.replace("\x00", "\ufffd") in shown


def test_places_on_an_axis() -> None:
    gaps = [Difference(0.1, 0.0, 0.4, None), Difference(-0.1, -0.1, -0.1, None)]
    axis = axis_of(gaps, lower_is_better=False)
    # From -.1 to .4 with 6% of .5 on both sides: .56 in all.
    assert axis.left == pytest.approx(-0.13) and axis.right == pytest.approx(0.43)
    assert axis.at(0) == pytest.approx(100 * 0.13 / 0.56, abs=0.01)
    assert axis.place(gaps[0]).low == axis.at(0) and axis.place(gaps[0]).high == axis.at(0.4)
    assert [round(value, 6) for value, _ in axis.ticks] == [0, 0.2, 0.4]
    turned = axis_of(gaps, lower_is_better=True)
    assert turned.at(-0.1) > turned.at(0) > turned.at(0.4)
    assert turned.place(gaps[0]).low == turned.at(0.4)
    assert [at for _, at in turned.ticks] == sorted(at for _, at in turned.ticks)
    wide = Difference(0.1, 0.0, 0.2, None, -0.2, 0.3)
    place = axis_of([wide], lower_is_better=False).place(wide)
    assert place.wide_low is not None and place.low is not None and place.wide_low < place.low
    assert axis_of([], lower_is_better=False).at(0) == 50


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.13, 0.43, [0, 0.2, 0.4]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (-0.004, 0.011, [0, 0.005, 0.01]),
        (-0.36, 0.45, [-0.2, 0, 0.2, 0.4]),
    ],
)
def test_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert round_numbers(low, high) == pytest.approx(ticks)


def test_a_reliability_curve_goes_up() -> None:
    few, many = curve(
        [ReliabilityBin(0.1, 0.2, 0.0, 0.5, 25), ReliabilityBin(0.9, 1.0, None, None, 100)]
    )
    assert (few.x, few.y, few.top, few.bottom) == (10, 80, 50, 100)
    assert (many.x, many.y, many.top, many.bottom) == (90, 0, 0, 0)
    assert many.size > few.size


def test_numbers_in_words() -> None:
    assert [signed(v) for v in (0.0412, -0.0001, 1.5)] == ["+.041", "0", "+1.500"]
    assert signed(-0.007) == f"{MINUS}.007"
    assert (
        minus("-.345 to -1 of r-1 [1-2], --limit")
        == f"{MINUS}.345 to {MINUS}1 of r-1 [1-2], --limit"
    )
    assert [brief(v) for v in (0.6361, 12.41, 0)] == [".636", "12.4", "0"]
    assert brief(-0.25) == f"{MINUS}.25"
    assert [size(v) for v in (12, 3_140_000, 8.1e9)] == ["12 bytes", "3.14 MB", "8.1 GB"]


def _contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2.2 has it."""

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_stand_out_from_the_paper() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    style = page_of(full_report()).all("style")[0].text
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 2  # light and dark
    for theme in themes:
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", theme))
        for word in ("ink", "soft", "accent", "better", "worse"):
            for ground in ("paper", "wash"):
                assert _contrast(colors[word], colors[ground]) >= 4.5, (word, ground)


def test_a_report_of_another_verb_is_shown_in_a_terminal_or_as_a_page(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    write_report(full_report(), out)
    run = CliRunner().invoke(app, ["report", str(out)])
    assert run.exit_code == 0 and "does not ship" in run.stdout
    run = CliRunner().invoke(app, ["report", str(out), "-o", str(tmp_path / "r.html")])
    assert run.exit_code == 0 and not run.stdout
    assert (tmp_path / "r.html").read_text("utf-8") == page(full_report())
    with pytest.raises(InputError, match=r"ends in \.html"):
        promptrank.report(out, out=tmp_path / "r.pdf")
