"""Made-up texts: the same everywhere, never alike, told wherever scores go, and worked out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import promptrank
from promptrank.basics.arrays import Floats
from promptrank.basics.telling import silent
from promptrank.errors import DataError, InputError
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.report_markdown import markdown
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.requests.obscure import Obscuring
from promptrank.scores.read import read_scores
from promptrank.workspace.obscurable import check_obscurable
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import open_task
from support.measured import labelled_of, rows_of


def item(title: str | None, key: object = None, **more: object) -> Item:
    return Item(str(title), {"title": title, **more}, key)


def test_the_same_title_is_made_up_alike_wherever_it_stands() -> None:
    heat, up = item("Heat", ("t", 1), year=1995), item("Up", ("t", 2), year=None)
    request = Request(
        "r",
        Subject("m", {"name": "Ann"}, source=item("Heat")),
        (Candidate("a", up, outcomes={"q": "1"}), Candidate("b", item("Heat"))),
        (Event(heat, "like", 1.0), Event(up, "like", 2.0)),
        time=3.0,
    )
    obscuring = Obscuring(["item.title"])
    made = obscuring(request)
    source = made.subject.source
    assert source is not None
    titles = [source.fields["title"], made.candidates[1].item.fields["title"]]
    assert titles == [made.history[0].item.fields["title"]] * 2
    assert made.history[1].item.fields["title"] == made.candidates[0].item.fields["title"]
    assert {"Heat", "Up"}.isdisjoint(e.item.fields["title"] for e in made.history)
    # Nothing else moves, and a cache of plain items never answers for one that is made up.
    assert made.history[0].item.fields["year"] == 1995
    assert made.history[0].item.key not in (None, heat.key)
    assert made.history[0].item is Obscuring.__call__(obscuring, request).history[0].item
    assert (
        replace(
            made, history=request.history, candidates=request.candidates, subject=request.subject
        )
        == request
    )
    assert Obscuring(["item.title"])(request) == made  # another process makes up the same
    assert Obscuring(["item.title"], seed=1)(request) != made


def test_made_up_texts_keep_words_length_and_case_and_never_meet() -> None:
    obscuring = Obscuring(["item.title"])
    made = obscuring.text("The Empire STRIKES back, 1980")
    words = made.split()
    assert len(words) == 5
    assert [w[0].isupper() for w in words] == [True, True, True, False, False]
    assert words[2].isupper() and all(4 <= len(w) <= 10 for w in words)
    assert not set(words) & set(obscuring.text("The Empire").split())  # no word is shared
    # Far more texts than there are short words: each still gets one of its own.
    short = [chr(97 + a) + chr(97 + b) for a in range(26) for b in range(26)] + ["?", "!", "\ud800"]
    assert len({obscuring.text(text) for text in short}) == len(short)


def test_values_that_are_no_texts() -> None:
    obscuring = Obscuring(["item.title", "item.genres"])
    candidates = (Candidate("a", item(None, genres=["War", "War", ""])),)
    fields = obscuring(Request("r", Subject("m"), candidates)).candidates[0].item.fields
    assert fields["title"] is None
    assert fields["genres"] == [obscuring.text("War")] * 2 + [""]
    with pytest.raises(InputError, match="it holds int, and only texts can be made up"):
        Obscuring(["item.year"])(Request("r", Subject("m"), (Candidate("a", item("A", year=1)),)))
    with pytest.raises(InputError, match="write a field of item, member or query"):
        Obscuring(["title"])


def test_the_share_that_survives_by_hand() -> None:
    # One relevant and two others for each of 40 subjects. The decoder is always right (AUC 1); the
    # control loses to one of the two (AUC .5 + .25): half of the lift is left.
    subjects = 40
    owner = [s for s in range(subjects) for _ in range(3)]
    rows = rows_of([1.0, 0.0, 0.0] * subjects, owner)
    scores: dict[str, Floats | list[float]] = {
        "decoder": [3.0, 2.0, 1.0] * subjects,
        "hidden": np.array([2.0, 2.0, 1.0] * subjects),
        "random": [0.0] * (3 * subjects),
    }
    labelled = labelled_of(rows, scores)
    report = report_of(
        labelled, ["log_loss", "auc"], reference="decoder", draws=200, control=("hidden", "decoder")
    )
    survival = report.survival
    assert survival is not None and survival.metric == "auc"
    assert (survival.share, survival.low, survival.high) == pytest.approx((0.5, 0.5, 0.5))
    assert "auc of hidden: 50% (50% to 50%) of the lift of decoder over chance" in markdown(report)
    # Nothing survives of what is not there.
    generator = np.random.default_rng(0)
    blind = {**scores, "decoder": generator.normal(size=len(owner))}
    report = report_of(
        labelled_of(rows, blind),
        ["auc"],
        reference="decoder",
        draws=200,
        control=("hidden", "decoder"),
    )
    assert report.survival is not None and report.survival.share is None
    assert "not clear of 0" in markdown(report)


@pytest.mark.slow
def test_eval_ranks_a_second_time_and_the_scores_say_so(toys: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    report = promptrank.evaluate(
        "toys/like",
        project=toys,
        engine="fake",
        draws=100,
        obscure=["item.title"],
        limit=6,
        out=out,
    )
    assert report.rankers[1].name == "decoder, obscured"
    assert report.rankers[1].origin["obscured"] == ("item.title",)
    assert "obscured" not in report.rankers[0].origin
    assert report.survival is not None
    assert json.loads(out.read_text())["survival"]["against"] == "decoder"
    plain, hidden = tmp_path / "e.scores.parquet", tmp_path / "e.obscured.scores.parquet"
    opened = open_task("toys/like", project=toys)
    kept = read_scores(hidden, opened.task, "toys/like")
    assert set(open_scores(opened, plain, silent).keys) == set(kept.keys)
    with pytest.raises(DataError, match=r"item\.title was obscured"):
        open_scores(opened, hidden, silent, allow_changed=True)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("item.titel", "no item of these requests has a field titel; did you mean 'title'"),
        ("member.person", "no member of these requests has a field person"),
        ("query.text", "there is no query at all"),
    ],
)
def test_a_field_that_is_not_there_is_told(field: str, message: str) -> None:
    request = Request("r", Subject("m", {"name": "Ann"}), (Candidate("a", item("Heat")),))
    assert message in str(Obscuring([field]).missing_from([request]))
    assert Obscuring(["item.title", "member.name"]).missing_from([request]) is None


def test_a_field_that_no_prompt_shows_is_refused(toys: Path) -> None:
    template = toys / "templates/toys/like.j2"
    text = template.read_text()
    template.write_text(text.replace("{% if item.color %}, {{ item.color }}{% endif %}", ""))
    opened = open_task("toys/like", project=toys)
    request = Request("r", Subject("m"), (Candidate("a", item("Ball", color="red")),))
    with pytest.raises(InputError, match=r"toys/like\.j2 never prints it"):
        check_obscurable(opened, Obscuring(["item.color"]), [request], student=False)
    check_obscurable(opened, Obscuring(["item.color"]), [request], student=True)
    check_obscurable(opened, Obscuring(["item.title"]), [request], student=False)
    with pytest.raises(InputError, match="has a field colour; did you mean 'color'"):
        check_obscurable(opened, Obscuring(["item.colour"]), [request], student=False)
