"""Example requests of a report: which are chosen, how orders are told apart, which texts."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau
from typer.testing import CliRunner

import promptrank
from promptrank.api.render import render
from promptrank.cli.main import app
from promptrank.errors import InputError
from promptrank.evaluation.example_requests import (
    TOP,
    TOP_OTHERS,
    ExampleRequest,
    examples_of,
    kendall_distance,
    short,
)
from promptrank.evaluation.page.example_orders import strips
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Item, Request, Subject
from support.measured import scores_by

Numbers = Sequence[float | None]


def request(name: str, *gains: int | None) -> Request:
    candidates = tuple(
        Candidate(f"c{i:02}", Item(f"i{i}", {}), outcomes={} if gain is None else {"q": str(gain)})
        for i, gain in enumerate(gains)
    )
    return Request(name, Subject(f"s-{name}"), candidates)


def gain(candidate: Candidate) -> float | None:
    return float(candidate.outcomes["q"]) if candidate.outcomes else None


def chosen(
    requests: Sequence[Request], by: Mapping[str, Mapping[str, Numbers]], most: int = 20
) -> tuple[ExampleRequest, ...]:
    """Examples; ``by`` is ranker -> request -> scores of its candidates."""
    rankers = {
        name: (lambda r, given=given: Values(list(given[r.request_id])))
        for name, given in by.items()
    }
    scores = scores_by(requests, rankers)
    ids = [r.request_id for r in requests]
    return examples_of(requests, ids, scores, gain_of=gain, relevant_at=1.0, most=most)


def test_distances_of_orders() -> None:
    a = np.array([4.0, 3.0, 2.0, 1.0])
    assert kendall_distance(a, a) == 0
    assert kendall_distance(a, -a) == 1
    assert kendall_distance(a, np.array([3.0, 4.0, 2.0, 1.0])) == pytest.approx(1 / 6)
    # Tied on one side only: 1 of 6 pairs counts half; on both sides, nothing.
    tied = np.array([4.0, 4.0, 2.0, 1.0])
    assert kendall_distance(a, tied) == pytest.approx(0.5 / 6)
    assert kendall_distance(tied, tied) == 0
    # What one of them lacks is left out.
    assert kendall_distance(a, np.array([1.0, np.nan, 2.0, np.nan])) == 1
    assert kendall_distance(a, np.array([np.nan, np.nan, 2.0, np.nan])) is None


def test_distances_agree_with_tau() -> None:
    generator = np.random.default_rng(1)
    for _ in range(5):
        a, b = generator.normal(size=(2, 9))
        assert kendall_distance(a, b) == pytest.approx((1 - kendalltau(a, b).statistic) / 2)


def test_half_differ_most_and_half_come_by_chance() -> None:
    names = [f"r{i}" for i in range(40)]
    requests = [request(name, 1, 0, 0) for name in names]
    ours = {name: (3.0, 2.0, 1.0) for name in names}
    # Twelve are turned round, the others are as the reference has them.
    turned = {name: (1.0, 2.0, 3.0) if i < 12 else (3.0, 2.0, 1.0) for i, name in enumerate(names)}
    examples = chosen(requests, {"ours": ours, "theirs": turned}, most=8)
    assert [e.differs for e in examples] == [True] * 4 + [False] * 4
    assert all(e.distance == 1 for e in examples[:4])
    assert {e.request_id for e in examples[:4]} <= set(names[:12])
    assert len({e.request_id for e in examples}) == 8
    # The same whatever order they come in.
    again = chosen(requests[::-1], {"ours": ours, "theirs": turned}, most=8)
    assert again == examples


def test_where_labels_are_all_alike_no_order_is_better() -> None:
    requests = [request("alike", 1, 1), request("mixed", 1, 0, 0)]
    ours = {"alike": (2.0, 1.0), "mixed": (3.0, 2.0, 1.0)}
    theirs = {"alike": (1.0, 2.0), "mixed": (2.0, 3.0, 1.0)}
    examples = chosen(requests, {"ours": ours, "theirs": theirs}, most=2)
    assert [(e.request_id, e.differs) for e in examples] == [("mixed", True), ("alike", False)]


def test_ranks_labels_and_what_is_shown() -> None:
    size = 30
    gains = [None, *itertools.islice(itertools.cycle([1, 0]), size - 1)]
    ours: Numbers = [float(size - i) for i in range(size)]
    theirs: Numbers = [float(i) for i in range(size - 1)] + [None]
    flat = [0.5] * size
    (one_request,) = chosen(
        [request("r", *gains)], {"ours": {"r": ours}, "theirs": {"r": theirs}, "flat": {"r": flat}}
    )
    shown = [c.candidate_id for c in one_request.candidates]
    # The reference's first ten, and the other's first three, in the reference's order.
    assert shown == [f"c{i:02}" for i in (*range(TOP), 26, 27, 28)]
    assert TOP_OTHERS == 3 and one_request.num_candidates == size
    first, last = one_request.candidates[0], one_request.candidates[-1]
    assert (first.gain, first.relevant, first.item_id) == (None, None, "i0")
    assert first.ranks == {"ours": 1.0, "theirs": 29.0}  # a flat ranker has no order
    assert last.ranks["theirs"] == 1.0 and last.relevant is False
    one_strip, other = strips(one_request)
    assert one_strip.relevant[:3] == (None, True, False) and one_strip.at[0] == 2
    assert other.ranker == "theirs" and other.relevant[:3] == (False, True, False)


def test_ties_share_their_mean_rank() -> None:
    (only,) = chosen([request("r", 1, 0, 0)], {"ours": {"r": (1.0, 2.0, 1.0)}})
    assert [c.ranks["ours"] for c in only.candidates] == [1.0, 2.5, 2.5]
    assert only.distance is None and not only.differs


def test_where_all_tie_many_at_the_top_ten_of_them_are_shown() -> None:
    scores = (*[1.0] * 30, 0.0)  # the mean rank of thirty is 15.5
    (only,) = chosen([request("r", *([1, 0] * 15), 0)], {"ours": {"r": scores}})
    assert [c.candidate_id for c in only.candidates] == [f"c{i:02}" for i in range(10)]


def test_rankers_without_an_order_give_no_examples() -> None:
    assert chosen([request("r", 1, 0)], {"ours": {"r": (1.0, 1.0)}}) == ()


def test_long_texts_are_shortened() -> None:
    assert short(" a\n b ") == "a b"
    assert len(short("x" * 1000)) == 300 and short("x" * 1000).endswith("…")


@pytest.mark.long
def test_pages_hold_ids_alone_unless_texts_are_asked_for(toys: Path, tmp_path: Path) -> None:
    given = {"project": toys, "engine": "fake", "draws": 100}
    plain = tmp_path / "plain.html"
    report = promptrank.evaluate("toys/like", out=plain, **given)  # type: ignore[arg-type]
    assert len(report.examples) == 12  # all there are
    secrets = [f"Toy {i}" for i in range(20)] + [f"Person {i}" for i in range(12)]
    for path in (plain, plain.with_suffix(".json")):
        text = path.read_text("utf-8")
        assert not [secret for secret in secrets if secret in text]
        assert "You rank toys" not in text
        assert report.examples[0].request_id in text
    told = tmp_path / "told.html"
    report = promptrank.evaluate(
        "toys/like",
        out=told,
        with_text=True,
        **given,  # type: ignore[arg-type]
    )
    text = told.read_text("utf-8")
    assert "Toy: Toy " in text and "Name: Person" in text
    # It is the prompt that `render` shows, to the character.
    first = report.examples[0]
    shown = render(
        "toys/like",
        request=first.request_id,
        candidate=first.candidates[0].candidate_id,
        project=toys,
    )
    assert "".join(p.text for p in first.prompt) + "\n" == shown.as_text(only_text=True)
    # And the page can be made of the JSON again.
    again = tmp_path / "again.html"
    promptrank.report(told.with_suffix(".json"), out=again)
    assert again.read_text("utf-8") == text
    assert (tmp_path / "told.scores.parquet").is_file()


@pytest.mark.long
def test_what_stands_where_a_run_would_write_is_not_overwritten(toys: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"project": toys, "engine": "fake", "draws": 100}
    out = tmp_path / "r.html"
    (tmp_path / "r.json").write_text('{"mine": "precious"}')
    with pytest.raises(InputError, match=r"r\.json is there and no report"):
        promptrank.evaluate("toys/like", out=out, **given)
    assert json.loads((tmp_path / "r.json").read_text("utf-8")) == {"mine": "precious"}
    (tmp_path / "r.json").unlink()
    promptrank.evaluate("toys/like", out=out, **given)
    kept = tmp_path / "r.scores.parquet"
    before = kept.read_bytes()
    with pytest.raises(InputError, match="this run writes its own scores there"):
        promptrank.evaluate(
            "toys/like",
            out=out,
            vs=[f"scores:{tmp_path / '..' / tmp_path.name / kept.name}"],
            **{**given, "engine": "baseline:popularity"},
        )
    assert kept.read_bytes() == before
    promptrank.evaluate("toys/like", out=out, **given)  # a report may be written again


def test_texts_need_a_report() -> None:
    run = CliRunner().invoke(app, ["eval", "toys/like", "--with-text"])
    assert isinstance(run.exception, InputError) and "--out" in str(run.exception)
