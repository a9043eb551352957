"""Probes: what they change, what they refuse, and that what they measure is what was changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptrank
from promptrank.basics.telling import silent
from promptrank.errors import DataError, InputError
from promptrank.evaluation.page.page import page
from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.probe_text import probe_lines, probe_text
from promptrank.evaluation.probed import measured_probe
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_file import read_report
from promptrank.probes.context_lengths import last_events, lengths
from promptrank.probes.edits import ProbedTask
from promptrank.probes.known import PROBES, parse_probes
from promptrank.probes.sections import without_item_text
from promptrank.probes.shuffling import shuffled_candidates, shuffled_history
from promptrank.prompt.encode import Encoder
from promptrank.prompt.template import load_template
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.scored_file import is_scored, score_into
from promptrank.scores.read import read_scores
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.probing import planned_edits
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import open_task
from support.measured import labelled_of, rows_of
from support.toys import make_project

TASK = "toys/like"
PROBES_BY_NAME = {probe.name: probe for probe in PROBES}
ALL = ["instruction", "history:shuffled", "candidates:shuffled", "sections", "context"]


def item(name: str, **fields: Any) -> Item:
    return Item(name, {"title": name, "color": "", **fields}, ("t", name))


REQUEST = Request(
    "r",
    Subject("m", {"name": "Ann"}),
    tuple(Candidate(f"c{i}", item(f"c{i}", year=1990 + i, tags=["a", "b"])) for i in range(6)),
    tuple(Event(item(f"e{i}"), "like", float(i)) for i in range(6)),
    time=9.0,
)


# -- what is changed -----------------------------------------------------------------------------


def test_shuffling_keeps_everything_but_the_order_and_goes_by_the_request() -> None:
    events, candidates = shuffled_history(REQUEST), shuffled_candidates(REQUEST)
    assert replace(events, history=REQUEST.history) == REQUEST
    assert replace(candidates, candidates=REQUEST.candidates) == REQUEST
    assert events.history != REQUEST.history and candidates.candidates != REQUEST.candidates
    assert sorted(e.time or 0 for e in events.history) == [e.time for e in REQUEST.history]
    assert {c.candidate_id for c in candidates.candidates} == {f"c{i}" for i in range(6)}
    assert shuffled_history(REQUEST) == events  # the same order each time
    others = [shuffled_history(replace(REQUEST, request_id=str(i))).history for i in range(9)]
    assert len({tuple(event.time for event in order) for order in others}) > 5


def test_a_history_is_cut_from_its_beginning() -> None:
    assert [e.time for e in last_events(2, REQUEST).history] == [4.0, 5.0]
    assert last_events(0, REQUEST).history == ()
    assert last_events(9, REQUEST) == REQUEST


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2]), (6, [0, 1, 2, 5]), (11, [0, 1, 2, 5, 10])],
)
def test_a_curve_has_few_points_below_its_end(most: int, expected: list[int]) -> None:
    assert lengths(most) == expected


def test_a_long_curve_keeps_both_of_its_ends() -> None:
    for most in (12, 50, 51, 700, 10_000):
        points = lengths(most)
        assert len(points) == len(set(points)) <= 5 and points == sorted(points)
        assert points[0] == 0 and points[-1] < most <= max(1000, 2.5 * points[-1]) * 10


def test_texts_of_candidates_are_emptied_and_nothing_else() -> None:
    changed = without_item_text(REQUEST)
    first = changed.candidates[0].item
    assert first.fields == {"title": "", "color": "", "year": 1990, "tags": []}
    assert first.key not in (None, REQUEST.candidates[0].item.key)  # no cache answers for it
    assert replace(changed, candidates=REQUEST.candidates) == REQUEST


def test_a_block_that_is_left_out_leaves_all_others_as_they_were(toys: Path) -> None:
    opened = open_task(TASK, project=toys)
    plain = encoder_of(opened, None, silent)
    without = encoder_of(replace(opened, left_out=frozenset({"subject"})), None, silent)
    assert "Name: Ann\n" in text_of(plain, REQUEST)
    assert text_of(without, REQUEST) == text_of(plain, REQUEST).replace("Name: Ann\n", "")
    assert without.fingerprint != plain.fingerprint


def text_of(encoder: Encoder, request: Request) -> str:
    tree = encoder.encode(request).tree
    assert tree is not None
    return encoder.tokenizer.decode([*tree.prefix, *tree.branches[0].ids])


# -- what is measured ----------------------------------------------------------------------------


def test_what_an_edit_does_by_hand() -> None:
    # Two subjects of one relevant candidate and one other. Both are ranked right; with the edit the
    # second is not, its scores have changed places: AUC 1 becomes (1 + .5 + .5 + 0) / 4 of pairs.
    rows = rows_of([1.0, 0.0, 1.0, 0.0], [0, 0, 1, 1], [0, 0, 1, 1])
    scores = {
        "decoder": [2.0, 1.0, 2.0, 1.0],
        "p": [2.0, 1.0, 1.0, 2.0],
        "few": [1.0, *[np.nan] * 3],
    }
    labelled = labelled_of(rows, scores)
    edits = {name: ProbeRow("p", name, "", 2, 1) for name in ("p", "few")}
    told = measured_probe(labelled, "decoder", edits, ["auc", "gauc"], 200, 0)
    row = told["p"]
    assert row.cells["auc"].value == 0.5 and row.differences["auc"].value == -0.5
    assert row.differences["gauc"].value == -0.5
    assert (row.score_change, row.largest_change, row.probability_change) == (0.5, 1.0, None)
    assert row.order is not None
    assert (row.order.kendall_tau.value, row.order.top1.value) == (0.0, 0.5)
    assert row.subjects is not None
    assert (row.subjects.metric, row.subjects.subjects) == ("gauc", 2)
    assert (row.subjects.worse, row.subjects.better) == (0.5, 0.0)
    assert [each.change for each in row.subjects.most] == [-1.0]
    assert row.subjects.most[0].subject_id == labelled.subject_ids[1]
    assert told["few"].reason == "only 1 of 4 labelled candidates have a score with it"
    assert told["few"].cells == {} and told["few"].unscored == 3
    assert "1 of 2 prompts" in probe_text(row, "auc")


def test_intervals_are_those_of_a_lone_comparison_and_survival_is_over_chance() -> None:
    # 40 subjects; the edit loses half of the lift of each (AUC 1 -> .75), as for `--obscure`.
    subjects = 40
    owner = [s for s in range(subjects) for _ in range(3)]
    rows = rows_of([1.0, 0.0, 0.0] * subjects, owner)
    scores = {"decoder": [3.0, 2.0, 1.0] * subjects, "p": [2.0, 2.0, 1.0] * subjects}
    edits = {"p": ProbeRow("p", "p", "", subjects, subjects)}
    told = measured_probe(labelled_of(rows, scores), "decoder", edits, ["auc"], 200, 0)
    row = told["p"]
    assert row.survival is not None
    assert (row.survival.share, row.survival.low) == pytest.approx((0.5, 0.5))
    difference = row.differences["auc"]
    assert difference.verdict == "worse"
    assert (difference.low, difference.high) == (difference.adjusted_low, difference.adjusted_high)
    assert "50% of the lift survives" in probe_text(row, "auc")


# -- the whole way -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    root = make_project(tmp_path_factory.mktemp("probes") / "toys", tiny_llama_path)
    task = root / "tasks/toys/like.yaml"
    words = task.read_text().replace("say: Yes", "say: [Yes, Sure]")
    task.write_text(words + "vars: {note: prefer red}\n")
    template = root / "templates/toys/like.j2"
    text = template.read_text()
    template.write_text(text.replace("for a member.", "for a member. Note: {{ vars.note }}"))
    promptrank.build(TASK, root / "requests.parquet", project=root)
    return root


def evaluated(project: Path, probes: list[str], **given: Any) -> Report:
    whole = {"engine": "fake", "draws": 100, "requests": project / "requests.parquet", **given}
    return promptrank.evaluate(TASK, project=project, probes=probes, **whole)


@pytest.fixture(scope="module")
def probed(project: Path) -> tuple[Report, Path]:
    out = project / "e.json"
    return evaluated(project, [*ALL, "answers", "set:vars.unused=1"], out=out), out


def rows_by_name(report: Report) -> dict[str, ProbeRow]:
    return {row.name: row for row in report.probes}


@pytest.mark.long
def test_probes_stand_beside_the_comparison_and_never_in_it(
    probed: tuple[Report, Path], project: Path
) -> None:
    report, out = probed
    bare = evaluated(project, [])
    for name in ("metrics", "pairs", "orders", "verdict", "counts", "absent"):
        assert getattr(report, name) == getattr(bare, name)
    assert [replace(row, origin={}) for row in report.rankers] == [
        replace(row, origin={}) for row in bare.rankers
    ]
    assert read_report(out).probes == report.probes
    assert {row.probe for row in report.probes} == {*ALL, "answers", "set:vars.unused=1"}
    assert len(list(probe_lines(report))) == 4 + 2 + 2 + 1 + 2  # sections end with a sentence
    assert all(row.requests == 12 for row in report.probes)


@pytest.mark.long
def test_the_order_of_candidates_changes_exactly_nothing(probed: tuple[Report, Path]) -> None:
    row = rows_by_name(probed[0])["candidates:shuffled"]
    assert (row.changed, row.largest_change, row.probability_change) == (12, 0.0, 0.0)
    assert row.order is not None and row.order.top1.value == 1.0
    assert "no score moves, as it must be" in probe_text(row, "auc")
    assert "MOVE, by up to .300" in probe_text(replace(row, largest_change=0.3), "auc")
    assert "rounding" in probe_text(replace(row, largest_change=1e-6), "auc")


@pytest.mark.long
def test_the_end_of_the_curve_is_the_ranking_itself(probed: tuple[Report, Path]) -> None:
    report, rows = probed[0], rows_by_name(probed[0])
    end = rows["context:4"]
    assert end.plain and not end.differences
    assert end.cells == report.ranker("decoder").cells
    # No history is no history, whichever probe asks.
    assert rows["context:0"].cells == rows["sections:history"].cells
    assert rows["context:0"].cells["auc"] != end.cells["auc"]
    (curve,) = (line for line in probe_lines(report) if line.startswith("probe context"))
    assert curve.endswith("with all, up to 4 past events") and " with 0, " in curve


@pytest.mark.long
def test_an_edit_that_changes_no_prompt_says_so_and_ranks_nothing(
    probed: tuple[Report, Path],
) -> None:
    report, out = probed
    row = rows_by_name(report)["set:vars.unused=1"]
    assert (row.changed, row.score_change, row.cells) == (0, None, {})
    assert probe_text(row, "auc").endswith("changes no prompt, so there is nothing to measure")
    assert not list(out.parent.glob("e.probe-set*"))


@pytest.mark.long
def test_scores_of_a_probe_are_kept_and_never_pass_for_plain_ones(
    probed: tuple[Report, Path], project: Path
) -> None:
    _, out = probed
    opened = open_task(TASK, project=project)
    plain = read_scores(out.with_name("e.scores.parquet"), opened.task, TASK)
    kept = out.with_name("e.probe-sections-history.scores.parquet")
    scores = read_scores(kept, opened.task, TASK)
    assert scores.origin.probe == "sections:history" and plain.origin.probe is None
    assert set(scores.index) == set(plain.index)
    with pytest.raises(DataError, match="of the probe sections:history"):
        open_scores(opened, kept, silent, allow_changed=True)
    # An edit of words is asked by another prompt; an edit of requests by the same.
    words = read_scores(out.with_name("e.probe-instruction.scores.parquet"), opened.task, TASK)
    assert scores.origin.prompt == plain.origin.prompt != words.origin.prompt


@pytest.mark.long
def test_a_probe_that_was_finished_is_not_ranked_again_and_one_that_was_stopped_goes_on(
    project: Path,
    tmp_path: Path,
    probed: tuple[Report, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)

    class Stopped(Exception):
        pass

    counts: list[int] = []

    def stop(done: int, total: int | None) -> None:
        counts.append(done)
        if counts.count(12) == 2 and done == 7:  # the ranking, a probe, and half of the next
            raise Stopped

    out, probes = tmp_path / "e.json", ["instruction", "history:shuffled"]
    with pytest.raises(Stopped):
        evaluated(project, probes, out=out, progress=stop)
    said: list[str] = []
    whole = evaluated(project, probes, out=out, say=said.append)
    assert "e.probe-instruction.scores.parquet has these scores already" in said
    assert "resuming: 6 requests were already ranked" in said
    unbroken = rows_by_name(probed[0])
    assert whole.probes == tuple(unbroken[row.name] for row in whole.probes)


@pytest.mark.long
def test_scores_are_taken_again_only_where_they_are_what_would_be_written(
    probed: tuple[Report, Path], project: Path, tmp_path: Path
) -> None:
    opened = open_task(TASK, project=project)
    sample = Sample(RequestFile(project / "requests.parquet", opened.task), {"test"}, 2)
    out = tmp_path / "s.parquet"
    with promptrank.open_ranker(opened, engine="fake") as ranker:
        asked = sample.edited(shuffled_history, probe="history:shuffled")
        score_into(out, ranker, asked, {})
        assert is_scored(out, ranker, asked, {})
        for other in (sample, sample.edited(None, probe="instruction")):
            assert not is_scored(out, ranker, other, {})
        assert not is_scored(out, ranker, asked, {"items": "other"})
        out.write_bytes(out.read_bytes()[:-1])
        assert not is_scored(out, ranker, asked, {})


@pytest.mark.long
def test_words_are_changed_as_they_say(project: Path) -> None:
    asked: dict[str, str] = {}
    opened = open_task(TASK, project=project)
    wanted = ["instruction", "answers", "set:vars.note=prefer blue"]
    sample = Sample(RequestFile(project / "requests.parquet", opened.task))
    planned = planned_edits(
        parse_probes(wanted, prompts=True), opened, sample, prompts=True, model=None, say=silent
    )
    for plan in planned:
        asked[plan.edit.name] = text_of(encoder_of(plan.opened, None, silent), REQUEST)
    plain = text_of(encoder_of(opened, None, silent), REQUEST)
    line = "You rank toys for a member. Note: prefer red\n"
    assert line in plain
    assert asked["instruction"] == plain.replace(line, "")
    assert asked["instruction:note"] == plain.replace("Note: prefer red", "Note:")
    assert asked["set:vars.note=prefer blue"] == plain.replace("red", "blue")
    say = planned[2].opened.task.questions["like"].answers["like"].say
    assert (planned[2].edit.name, say) == ("answers", ["Sure"])


@pytest.mark.long
def test_a_ranker_that_goes_by_history_alone_is_told(project: Path) -> None:
    # Item-item neighbours read neither the subject nor any text.
    report = evaluated(project, ["sections"], engine="baseline:neighbors")
    rows = rows_by_name(report)
    for name in ("sections:subject", "sections:item"):
        assert (rows[name].changed, rows[name].largest_change) == (12, 0.0)
        assert "no score moves: the ranker does not use it" in probe_text(rows[name], "auc")
    assert rows["sections:history"].cells["auc"].value == 0.5  # all tie
    told = [line for line in probe_lines(report) if line.startswith("probe sections: ")]
    assert told == [
        "probe sections: auc needs history; not subject or item that the data could tell"
    ]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probes", "given", "message"),
    [
        (["instructions"], {}, "no such probe; did you mean 'instruction'"),
        (["history"], {}, "no such probe; did you mean 'history:shuffled'"),
        (["set"], {}, "write set:KEY=VALUE"),
        (["instruction"], {"engine": "baseline:bm25"}, "only a decoder can be asked"),
        (["context"], {"scores": "e.parquet"}, "ranks anew, with one thing changed"),
    ],
)
def test_what_no_request_has_to_be_read_for_is_refused_at_once(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    probes: list[str],
    given: dict[str, Any],
    message: str,
) -> None:
    def read(*given: Any, **more: Any) -> None:
        raise AssertionError("requests were read")

    monkeypatch.setattr("promptrank.workspace.measuring.request_file", read)
    with pytest.raises(InputError) as error:
        evaluated(project, probes, **given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("probes", "settings", "message"),
    [
        (["history:shuffled"], ["history=null"], "the task has no history"),
        (["context"], ["history=null"], "the task has no history"),
        (
            ["answers"],
            ["questions.like.answers.like.say=Yes"],
            "no answer of the task has a second",
        ),
        (["set:vars.note"], [], "expected set:KEY=VALUE"),
        (["set:history.last=2"], [], "a probe changes what prompts say"),
        (["set:questions.like.answers.like.value=3"], [], "the rest goes with --set"),
        (["set:questions.likes.ask=Eh"], [], "questions.likes.answers: is missing"),
        (["set:questions.like.answers.like.say=No"], [], "both say 'No'"),
        (["set:template=none.j2"], [], "--probe set:template=none.j2: template none.j2: not found"),
        (["sections"], ["template=bare.j2", "history=null"], "there is nothing to leave out"),
        (["instruction"], ["template=bare.j2", "history=null"], "has no block instruction"),
    ],
)
def test_a_probe_that_has_nothing_to_change_is_refused_before_anything_ranks(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    probes: list[str],
    settings: list[str],
    message: str,
) -> None:
    (project / "templates/bare.j2").write_text(
        "{% block candidate %}Toy{% endblock %}{% block question %}Like it?{% endblock %}"
    )

    def rank(*given: Any, **more: Any) -> None:
        raise AssertionError("something was ranked")

    monkeypatch.setattr("promptrank.workspace.measuring.MeasuredOn.scores", rank)
    with pytest.raises(InputError) as error:
        evaluated(project, probes, settings=settings)
    assert message in str(error.value)


@pytest.mark.long
def test_a_section_that_is_not_there_is_told_where_others_are(project: Path) -> None:
    rows = rows_by_name(evaluated(project, ["sections"], settings=["history=null"]))
    assert rows["sections:history"].reason == "the task has no history"
    assert rows["sections:item"].differences


def test_a_subject_that_other_blocks_name_is_told(project: Path) -> None:
    words = "{% block question %}Would {{ member.name }} like it?{% endblock %}"
    (project / "templates/named.j2").write_text("{% extends 'toys/like.j2' %}" + words)
    opened = open_task(TASK, project=project, settings=["template=named.j2"])
    template = load_template("named.j2", opened.place.template_folders)
    edits = PROBES_BY_NAME["sections"].edits(ProbedTask(opened.task, template, [REQUEST]), "")
    assert edits[0].change == "no block subject, though the subject is in question too"


@pytest.mark.long
def test_a_rivals_scores_are_not_written_over(project: Path, tmp_path: Path) -> None:
    out, name = tmp_path / "e.json", tmp_path / "e.probe-instruction.scores.parquet"
    evaluated(project, [], out=out)
    out.with_name("e.scores.parquet").rename(name)
    with pytest.raises(InputError, match="writes a probe's scores there"):
        evaluated(project, ["instruction"], out=out, vs=[f"scores:{name}"])


def test_every_probe_is_in_the_reference_and_in_the_help() -> None:
    text = (Path(__file__).parents[1] / "docs/reference/probes.md").read_text(encoding="utf-8")
    assert [probe.name for probe in PROBES if f"`{probe.name}" not in text] == []


@pytest.mark.long
def test_a_metric_that_only_a_requirement_names_is_probed_too(
    project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e.html"
    made = evaluated(project, ["sections"], require=["ndcg@3 >= 0.1"], out=out)
    assert all("ndcg@3" in row.cells for row in made.probes if row.cells)
    older = replace(made, probes=tuple(replace(row, cells={}) for row in made.probes))
    assert out.is_file() and page(older)
