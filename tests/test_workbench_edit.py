"""The page Edit: errors at their lines, the prompt that is ranked, and rankings as one types."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from promptrank.adapters.card import write_card
from promptrank.engine.contract import EngineInfo, Failure, Steps, Tree
from promptrank.engine.fake import FakeEngine
from promptrank.engine.tree_checks import Limits
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.runtime import runtime as runtime_module
from promptrank.runtime.opened import Opened
from promptrank.runtime.pieces import Pieces
from promptrank.runtime.runtime import Runtime
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.workbench import live as live_module
from promptrank.workbench.checking import Draft, DraftChecks
from promptrank.workbench.desk import Desk
from promptrank.workbench.live import LiveRanking, Trial, rank_in_pieces
from promptrank.workbench.moves import changed_fragments, differences, moves_of
from promptrank.workbench.prompt_view import view_of
from promptrank.workbench.request_choice import RequestShelf
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.tasks import OpenTask
from support.adapters import a_card, a_task_card
from support.serving import HeldEngine, rank_body, serving
from support.toys import TEMPLATE, make_project
from support.vllm import use_stub
from support.workbench import OURS, app_on, browse, build_requests, desk_of

TOYS = [f"Toy {i}" for i in range(10)]
PASTED = {"source": "pasted", "pasted": json.dumps(rank_body(toys=TOYS)["request"])}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path_factory.mktemp("edited"), tiny_llama_path)


@pytest.fixture(scope="module")
def desk(project: Path) -> Desk:
    return desk_of(project)


@pytest.fixture(scope="module")
def app(desk: Desk) -> Starlette:
    """One for tests that do not mind what it knows already."""
    return app_on(desk)


def texts(
    desk: Desk, template: tuple[str, str] = ("", ""), task: tuple[str, str] = ("", "")
) -> Any:
    """The saved texts, each with one thing put in the place of another."""
    saved = desk.task(None).saved()
    return TaskTexts(
        saved.task.replace(*task) if task[0] else saved.task,
        saved.template.replace(*template) if template[0] else saved.template,
        saved.template_name,
    )


def check(desk: Desk, **edits: tuple[str, str]) -> Draft:
    return DraftChecks(desk).check(desk.task(None), texts(desk, **edits))


def fields(desk: Desk, **edits: tuple[str, str]) -> dict[str, str]:
    draft = texts(desk, **edits)
    return {**PASTED, "task_text": draft.task, "template_text": draft.template}


def tried(app: Starlette, given: dict[str, str]) -> list[dict[str, Any]]:
    answer = browse(app, "/edit/try", given)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


# ---- errors at their lines

TEMPLATE_FAULTS = {
    "a tag that is not closed": ("{% endif %}", "", 6, "endblock"),
    "a variable that blocks do not have": (
        "item.color %}, {{ item",
        "itm.color %}, {{ item",
        5,
        "itm",
    ),
    "a field that no table has": ("{{ item.color }}", "{{ item.colour }}", 5, "item.colour"),
    "a block that is called otherwise": ("block event", "block evnet", 3, "did you mean event"),
    "text outside of the blocks": ("{% block event", "Hello\n{% block event", 3, "outside"),
}


@pytest.mark.parametrize("name", TEMPLATE_FAULTS)
def test_faults_of_a_template_stand_at_their_lines(desk: Desk, name: str) -> None:
    old, new, line, words = TEMPLATE_FAULTS[name]
    misfit = check(desk, template=(old, new)).misfits[0]
    assert (misfit.where, misfit.line) == ("template", line) and words in misfit.message


TASK_FAULTS = {
    "no YAML": ("domain: toys", "domain: [toys", 2, "not YAML"),
    "a key that is unknown": ("split:", "spilt:", 19, "did you mean 'split'"),
    "a value of the wrong kind": ("history: {last: 4}", "history: {last: four}", 14, "four"),
    "an answer that says nothing": ("say: No,", "say: '',", 18, "must say something"),
    "a key that is missing": (
        "    ask: Will they like it?\n    answers:",
        "    answer:",
        16,
        "answers: is missing",
    ),
    "a budget without room": ("candidate: 80", "candidate: 9", 20, "budget.candidate"),
    "another model": ("model: ", "model: other/", 3, "this server ranks with"),
}


@pytest.mark.parametrize("name", TASK_FAULTS)
def test_faults_of_a_task_stand_at_their_lines(desk: Desk, name: str) -> None:
    old, new, line, words = TASK_FAULTS[name]
    draft = check(desk, task=(old, new))
    assert draft.ranker is None
    assert any(
        m.where == "task" and m.line == line and words in m.message for m in draft.misfits
    ), draft.misfits


@pytest.mark.long
@pytest.mark.parametrize("change", [("tokens: 200", "tokens: 400"), ("tokens: 200, ", "")])
def test_a_longer_prompt_does_not_start_vllm_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    use_stub(tmp_path, monkeypatch)

    def open_engine(
        engine: str,
        folder: Path,
        name: str,
        adapter: str | None,
        compute: Any,
        longest: int,
        *_: Any,
    ) -> VllmEngine:
        launch = Launch(str(folder), "float32", longest, 1, lora_rank=8)
        info = EngineInfo("vllm", name, "0", "float32", longest)
        return VllmEngine(launch, info, Limits(longest, 100_000))

    monkeypatch.setattr(runtime_module, "open_engine", open_engine)
    with Runtime() as runtime:
        desk = desk_of(project, engine="vllm", runtime=runtime, read_only=True)
        draft = check(desk, task=change)
        assert draft.ranker is None
        (misfit,) = draft.misfits
        assert (misfit.where, misfit.line) == ("task", 20) and "200 tokens" in misfit.message
        shorter = check(desk, task=("tokens: 200", "tokens: 150"))
        assert shorter.ranker is not None and not shorter.misfits
        with pytest.raises(InputError, match="200 tokens"):
            desk.draft_ranker(desk.task(None), draft.opened or desk.task(None).opened)
    assert (tmp_path / "log").read_text().split().count("start") == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "edit", [("Will they like it?", "Do they like it?"), ("say: Yes,", "say: Sure,")]
)
def test_words_of_a_question_read_no_table_and_switch_no_check_off(
    desk: Desk, edit: tuple[str, str]
) -> None:
    assert check(desk, task=edit).notes == ()
    faulty = check(desk, task=edit, template=("item.color %}", "item.colour %}"))
    assert any("nothing supplies item.colour" in m.message for m in faulty.misfits)


def test_another_model_is_said_alone(desk: Desk) -> None:
    draft = check(desk, task=("model: ", "model: other/"))
    assert draft.notes == () and len(draft.misfits) == 1


def test_what_reads_the_tables_otherwise_is_said(desk: Desk) -> None:
    (note,) = check(desk, task=("history: {last: 4}", "history: {last: 3}")).notes
    assert "what the task reads from its tables has changed" in note


def test_a_template_of_any_length_is_refused_at_once(desk: Desk) -> None:
    misfits = check(desk, template=("Name:", "x" * 400_000)).misfits
    assert [m.message[:27] for m in misfits] == ["a template has at most 300,"]


@pytest.fixture
def adapted(desk: Desk, tmp_path: Path) -> Desk:
    """A desk whose traffic has an adapter that was trained with the saved words."""
    task = desk.task(None)
    of = a_task_card(task.opened.task, {"toys/like.j2": TEMPLATE})
    write_card(tmp_path, a_card(None, **{task.name: of}))
    under = copy(desk.served(task).ranker)
    under.adapter = str(tmp_path)
    hosted = Hosted([task.name])
    hosted.put([HostedTask(task.name, under)])
    return replace(desk, hosted=hosted, rank_draft=lambda draft, _: desk.rank_draft(draft, None))


@pytest.mark.long
def test_a_draft_under_an_adapter_is_ranked_and_said(adapted: Desk) -> None:
    task, checks = adapted.task(None), DraftChecks(adapted)
    under = adapted.served(task).ranker
    assert checks.saved(task).notes == ()
    draft = checks.check(task, texts(adapted, template=("Name:", "Member:")))
    (note,) = draft.notes
    assert draft.ranker is not None and "trained with other words (template)" in note
    # Traffic moves to another adapter: what ranked under the old one is let go.
    gone = ref(draft.ranker)
    del draft
    under.adapter = None
    again = checks.check(task, texts(adapted, template=("Name:", "Member:")))
    assert again.ranker is not None
    gc.collect()
    assert gone() is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("Name:", "Member:"), "trained with other words (template)"),
        (("Answer:{% endblock %}\n", "Answer:{% endblock %}\n\n"), "this request are the same"),
    ],
)
def test_an_adapter_knows_the_prompts_and_not_the_text(
    adapted: Desk, edit: tuple[str, str], says: str
) -> None:
    told = tried(app_on(adapted), fields(adapted, template=edit))
    first, last = [event["html"] for event in told if event["kind"] == "checked"]
    assert "trained with" not in first
    assert says in last and last.count("trained with") == 1


@pytest.mark.long
def test_a_fault_that_only_a_request_shows_stands_at_its_line(desk: Desk, app: Starlette) -> None:
    given = fields(desk, template=("{{ item.title }}{% if", "{{ item.title[:2] + 3 }}{% if"))
    told = tried(app, given)
    lines = [event["lines"]["template"] for event in told if event["kind"] == "checked"]
    assert lines == [[], [5]]
    assert told[-1]["kind"] == "prompt" and "Nothing of this request" in told[-1]["html"]


def test_a_template_without_end_is_a_fault_and_not_a_hang(
    desk: Desk, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = "{{% for {0} in range(9999) %}}"
    endless = "".join(map(loop.format, "abcd")) + "{% endfor %}" * 4
    given = fields(desk, template=("Name:", f"{endless}Name:"))
    told = tried(app, given)
    assert "loop over less" in told[-2]["html"] and told[-1]["kind"] == "prompt"
    monkeypatch.setattr(live_module, "_SLOW", 0.0)
    told = tried(app, fields(desk))
    assert told[-1]["kind"] == "failed" and "loop over less" in told[-1]["text"]


@pytest.mark.long
def test_the_saved_task_is_fine_and_nothing_is_written(
    desk: Desk, app: Starlette, project: Path
) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert check(desk).misfits == ()
    tried(app, fields(desk, template=("rank toys", "order toys")))
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


# ---- the prompt


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> list[Tree]:
    """What an engine is asked, in order."""
    asked: list[Tree] = []
    begin = FakeEngine.begin

    def noted(self: FakeEngine, works: Any) -> Steps:
        asked.extend(works)
        return begin(self, works)

    monkeypatch.setattr(FakeEngine, "begin", noted)
    return asked


@pytest.mark.long
def test_the_ids_that_are_shown_are_those_that_are_ranked(desk: Desk, trees: list[Tree]) -> None:
    given = fields(desk, template=("rank toys", "order new toys"))
    tried(app_on(desk), given)
    draft = [tree for tree in trees if tree.prefix == trees[0].prefix]
    branches = [branch for tree in draft for branch in tree.branches]
    assert len(branches) == len(TOYS)
    seen = LiveRanking(desk).previewed(desk.task(None), given)
    assert seen.draft.ranker is not None and seen.draft.ranker.encoder is not None
    for place, toy in enumerate(TOYS):
        view = view_of(seen.draft.ranker.encoder, seen.preview, toy)
        assert view is not None and view.candidate_id == toy
        shown = [
            i for group in (*view.prefix, *view.own) for piece in group.pieces for i in piece.ids
        ]
        (question,) = view.questions
        behind = [i for group in question.groups for piece in group.pieces for i in piece.ids]
        (slot,) = branches[place].slots
        assert shown == [*draft[0].prefix, *branches[place].ids] and behind == list(slot.ids)
        assert [path.ids for path in question.paths] == list(slot.paths)
        assert view.total == len(shown) + len(behind) + max(map(len, slot.paths))


def test_the_prompt_of_another_candidate_is_shown_with_its_counts_and_ids(
    desk: Desk, app: Starlette
) -> None:
    shown = browse(app, "/edit/prompt", {**fields(desk), "candidate": "Toy 7"}).text
    assert '<option value="Toy 7" selected>' in shown and "Toy: Toy 7, red" in shown
    for words in ("instruction", "profile", "candidate", "question", "answer slot", "tokens"):
        assert words in shown
    wrong = browse(app, "/edit/prompt", {**fields(desk, task=("domain", "domian"))})
    assert wrong.status_code == 422 and "did you mean" in wrong.text


def test_what_is_cut_is_said(desk: Desk, app: Starlette) -> None:
    body = rank_body(toys=["Ball"])["request"]
    body["history"] = [{"item": {"title": "Top"}, "action": "like"}] * 60
    given = {**fields(desk), "pasted": json.dumps(body)}
    shown = browse(app, "/edit/prompt", given).text
    assert "Cut:" in shown and "of 60 events do not fit the budget" in shown


# ---- ranking


def test_a_draft_is_ranked_in_pieces_with_the_scores_of_the_whole(desk: Desk) -> None:
    served = desk.served(desk.task(None)).ranker
    request = RequestShelf().request(desk.task(None), PASTED)
    told: list[tuple[int, int | None]] = []
    ranking = rank_in_pieces(served, request, lambda *t: told.append(t), lambda *_: None)
    assert told == [(0, 10), (5, 10), (10, 10)]
    whole = served.rank(request)
    assert [s.candidate_id for s in ranking.scored] == [s.candidate_id for s in whole.scored]
    scores = [s.score for s in ranking.scored]
    assert scores == pytest.approx([s.score for s in whole.scored])


@pytest.mark.long
def test_the_page_is_told_each_stage(desk: Desk) -> None:
    app = app_on(desk)
    told = tried(app, fields(desk))
    stages = [e["text"] if e["kind"] == "status" else e["kind"] for e in told]
    assert stages == [
        *("checking", "checked", "encoding", "prompt"),
        *("ranking 0/10", "ranking 5/10", "ranking 10/10", "ranked"),
    ]
    assert told[-1]["whole"] and "Moved" not in told[-1]["html"]
    # What was ranked is known when the next draft is compared with it.
    edited = tried(app, fields(desk, template=("rank toys", "order new toys")))
    assert [e["whole"] for e in edited if e["kind"] == "ranked"] == [True]
    assert "Moved" in edited[-1]["html"]
    fresh = tried(app_on(desk), fields(desk, template=("rank toys", "order new toys")))
    assert [e["whole"] for e in fresh if e["kind"] == "ranked"] == [False, True]


def both(desk: Desk, **edits: tuple[str, str]) -> tuple[Ranker, Ranker, Any]:
    checks, task = DraftChecks(desk), desk.task(None)
    saved, draft = checks.saved(task).ranker, checks.check(task, texts(desk, **edits)).ranker
    assert saved is not None and draft is not None
    return saved, draft, RequestShelf().request(task, PASTED)


EDITS: dict[str, tuple[str, tuple[str, str], list[str]]] = {
    "the instruction": ("template", ("You rank", "You order"), ["instruction"]),
    "the profile": ("template", ("Name:", "Member:"), ["profile"]),
    "the candidate": ("template", ("Toy:", "Plaything:"), ["candidate"]),
    "the question": ("task", ("Will they like it?", "Will they buy it?"), ["question"]),
    "an answer": ("task", ("say: Yes", "say: Sure"), ["answer"]),
    "a history that nobody has": ("template", ("event.action }}:", "event.action }} -"), []),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_changed_is_told_by_fragment(desk: Desk, name: str) -> None:
    kind, edit, changed = EDITS[name]
    saved, draft, request = both(desk, **{kind: edit})
    assert saved.encoder is not None and draft.encoder is not None
    previews = saved.encoder.preview(request), draft.encoder.preview(request)
    assert changed_fragments(*previews) == {toy: changed for toy in TOYS}
    told = differences(*previews, "Toy 3")
    assert [title for title, _ in told] == changed
    assert (saved.fingerprint == draft.fingerprint) is False


def test_a_candidate_alone_can_change(desk: Desk) -> None:
    only = ("Toy: {{ item.title }}", 'Toy: {{ item.title | replace("Toy 4", "Car") }}')
    saved, draft, request = both(desk, template=only)
    assert saved.encoder is not None and draft.encoder is not None
    changed = changed_fragments(saved.encoder.preview(request), draft.encoder.preview(request))
    assert {toy for toy, kinds in changed.items() if kinds} == {"Toy 4"}
    now, then = draft.rank(request), saved.rank(request)
    moves = {m.candidate_id: m for m in moves_of(draft.task, now, then, changed)}
    before = {s.candidate_id: s for s in then.scored}
    for scored in now.scored:
        moved, old = moves[scored.candidate_id], before[scored.candidate_id]
        assert moved.up == old.rank - scored.rank
        assert scored.probability is not None and old.probability is not None
        assert moved.gain == pytest.approx(scored.probability - old.probability)
    assert [name for name, moved in moves.items() if moved.gain] == ["Toy 4"]


def test_a_draft_waits_for_the_model(desk: Desk) -> None:
    loading = replace(desk, hosted=Hosted(["toys/like"]))
    told = tried(app_on(loading), fields(desk))
    assert [event["kind"] for event in told] == ["status", "waiting"]


# ---- given up, and in between


def held_desk(project: Path, engine: HeldEngine) -> Desk:
    desk = desk_of(project)
    opened: Opened[Any] = Opened(engine)
    inner = desk.rank_draft

    def rank_draft(draft: OpenTask, adapter: str | None) -> Ranker:
        ranker = inner(draft, adapter)
        ranker.opened = opened
        return ranker

    desk.rank_draft = rank_draft
    return desk


@pytest.mark.long
def test_an_older_draft_is_ranked_no_further(project: Path) -> None:
    engine = HeldEngine()
    desk = held_desk(project, engine)
    live, given = LiveRanking(desk), fields(desk)

    async def run() -> None:
        older = live.tried(desk.task(None), given)
        async for kind, value in older:
            if (kind, value) == ("status", "ranking 0/10"):
                break
        await asyncio.to_thread(engine.reached.wait, 20)
        await older.aclose()
        engine.open()
        newer = live.tried(desk.task(None), fields(desk, template=("You rank", "You sort")))
        kinds = [kind async for kind, _ in newer]
        assert kinds[-1] == "ranked"

    asyncio.run(run())
    # One piece of the older draft, which was under way; then the newer one and the saved version.
    assert len(engine.begun) == 1 + 2 + 2


@pytest.mark.long
def test_a_page_that_leaves_ends_its_ranking(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, given_up = HeldEngine(), threading.Event()
    give_up = Trial.give_up

    def noted(self: Trial) -> None:
        give_up(self)
        given_up.set()

    monkeypatch.setattr(Trial, "give_up", noted)
    desk = held_desk(project, engine)
    with serving(app_on(desk)) as url:
        post = httpx.stream("POST", f"{url}/edit/try", data=fields(desk), headers=OURS, timeout=30)
        with post as answer:
            lines = answer.iter_lines()  # which, once forgotten, would close the answer
            assert any("ranking 0/10" in line for line in lines)
            assert engine.reached.wait(20) and not given_up.is_set()
        assert given_up.wait(20)
        engine.open()
        assert browse(app_on(desk), "/edit/prompt", fields(desk)).status_code == 200
    assert len(engine.begun) == 1


def test_a_request_of_the_server_comes_in_between(desk: Desk) -> None:
    engine = HeldEngine()
    opened: Opened[Any] = Opened(engine)
    ranker = desk.rank_draft(desk.task(None).opened, None)
    ranker.opened = opened
    shelf, task = RequestShelf(), desk.task(None)
    draft = shelf.request(
        task, {**PASTED, "pasted": json.dumps(rank_body("draft", TOYS)["request"])}
    )
    thread = threading.Thread(
        target=rank_in_pieces, args=(ranker, draft, lambda *_: None, lambda *_: None)
    )
    thread.start()
    assert engine.reached.wait(20)  # the first piece is at its step
    traffic = threading.Thread(target=ranker.rank, args=(rank_body("traffic")["request"],))
    traffic.start()
    while len(opened._groups) < 1:
        threading.Event().wait(0.001)
    engine.open()
    traffic.join(20)
    thread.join(20)
    assert engine.answered.index("traffic") < len(engine.answered) - 1
    assert engine.answered.count("draft") == 2


def test_pieces_pass_a_failure_on(desk: Desk) -> None:
    class Failing(FakeEngine):
        def begin(self, works: Any) -> Steps:
            yield [(place, Failure("broken", "it broke")) for place in range(len(works))]

    served = desk.served(desk.task(None)).ranker
    assert served.encoder is not None
    request = RequestShelf().request(desk.task(None), PASTED)
    tree = served.encoder.encode(request).tree
    assert tree is not None
    steps = list(Pieces(Opened(Failing())).begin([tree, replace(tree, tree_id="b")]))
    assert [place for step in steps for place, _ in step] == [0, 1]
    assert all(isinstance(score, Failure) for step in steps for _, score in step)


# ---- choosing a request


def test_without_a_request_file_the_page_says_what_to_run(desk: Desk, app: Starlette) -> None:
    shown = browse(app, "/edit").text
    assert "promptrank build toys/like --out requests/toys-like.parquet" in shown
    told = tried(app, {**fields(desk), "pasted": ""})
    assert told[-1]["kind"] == "failed" and "paste a request as JSON" in told[-1]["text"]
    for wrong in ("{", "[1]", '{"candidates": []}', '{"candidates": [{"itm": 1}]}'):
        told = tried(app, {**fields(desk), "pasted": wrong})
        assert told[-1]["kind"] == "failed" and told[-1]["text"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    project = make_project(tmp_path_factory.mktemp("built"), tiny_llama_path)
    build_requests(project)
    return project


@pytest.mark.long
def test_requests_are_leafed_through_and_found(built: Path) -> None:
    task, shelf = desk_of(built).task(None), RequestShelf()
    first = shelf.choose(task, {})
    assert first.part == "test" and first.place == 1 and first.of == len(first.listed) == 12
    assert [name for name, _ in first.parts] == ["test", "valid", "train"]
    ids = list(first.listed)
    at = {"part": "test", "request": ids[0], "source": "0"}
    assert shelf.choose(task, {**at, "step": "next"}).request_id == ids[1]
    assert shelf.choose(task, {**at, "step": "previous"}).request_id == ids[-1]
    assert shelf.choose(task, {**at, "step": "find", "find": ids[5]}).request_id == ids[5]
    lost = shelf.choose(task, {**at, "step": "find", "find": "nobody"})
    assert lost.request_id == ids[0] and "nobody" in (lost.problem or "")
    assert shelf.choose(task, {**at, "part": "train"}).part == "train"
    request = shelf.request(task, {**at, "request": ids[3]})
    assert request.request_id == ids[3] and request.split == "test"


@pytest.mark.long
def test_a_request_of_the_file_shows_its_labels(built: Path) -> None:
    desk = desk_of(built)
    app = app_on(desk)
    page = browse(app, "/edit").text
    name = RequestShelf().choose(desk.task(None), {}).request_id
    assert f'<option value="{name}" selected>' in page
    told = tried(app, {"source": "0", "part": "test", "request": name})
    assert told[-1]["kind"] == "ranked" and 'class="chip' in told[-1]["html"]
    gone = tried(app, {"source": "0", "part": "test", "request": "nobody"})
    assert "no request 'nobody'" in gone[-1]["text"]


# ---- hostile texts

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)><b hx-get="/x" hx-trigger=load>'


def hostile_fields(desk: Desk) -> Iterator[dict[str, str]]:
    body = rank_body(name=HOSTILE, toys=[f"{HOSTILE}{i}" for i in range(2)])["request"]
    body["member"]["name"] = HOSTILE
    body["candidates"][0]["candidate_id"] = HOSTILE
    body["candidates"][0]["outcomes"] = {"like": HOSTILE}
    yield {**fields(desk), "pasted": json.dumps(body)}
    yield {**fields(desk, template=("Name:", HOSTILE)), "pasted": json.dumps(body)}
    yield {**fields(desk, template=("Name:", "{{ " + HOSTILE)), "pasted": json.dumps(body)}
    yield {**fields(desk, task=("domain:", f"'{HOSTILE}':")), "pasted": json.dumps(body)}
    yield {**fields(desk), "pasted": json.dumps({HOSTILE: 1})}


@pytest.mark.long
def test_what_people_and_tables_say_is_text(desk: Desk, app: Starlette) -> None:
    shown = 0
    for given in hostile_fields(desk):
        pieces = [event["html"] for event in tried(app, given) if "html" in event]
        pieces += [
            browse(app, path, {**given, "moved": HOSTILE, "candidate": HOSTILE}).text
            for path in ("/edit/prompt", "/edit/difference", "/edit/request")
        ]
        for html in pieces:
            shown += "alert(1)" in html
            assert "<script" not in html and "<img" not in html and "<b hx-" not in html
    assert shown > 8


def test_a_student_has_no_words_to_edit(project: Path) -> None:
    desk = desk_of(project)
    desk.tasks = {n: replace(t, engine="student:small") for n, t in desk.tasks.items()}
    shown = browse(app_on(desk), "/edit").text
    assert "No words to edit" in shown and "textarea" not in shown


def test_the_template_in_the_page_is_the_file_to_the_letter(toys: Path) -> None:
    path = toys / "templates/toys/like.j2"
    path.write_text("\n\n" + TEMPLATE)
    shown = browse(app_on(desk_of(toys)), "/edit").text
    # A browser drops one line end after the opening tag.
    assert 'aria-describedby="editor-keys">\n\n\n{% block instruction' in shown
