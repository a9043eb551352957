"""The page Label: a candidate and a question, or two candidates, and one key for an answer."""

import asyncio
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from promptrank.errors import InputError
from promptrank.requests.corrections import DROP
from promptrank.requests.judgement_file import append_judgements, read_judgements
from promptrank.requests.judgement_rows import Judgement, line_of, standing
from promptrank.serve.refused import refuse
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import fragment, page
from promptrank.workbench.label_asked import LabelAsked, asked_of, choices_of
from promptrank.workbench.label_cards import DIFFERENT, UNCERTAIN, Card, CardsWanted, cards
from promptrank.workbench.label_export import KINDS, exported
from promptrank.workbench.label_pool import LabelPool, parts_of_task, read_pool
from promptrank.workbench.label_progress import progress_of
from promptrank.workbench.posted import fields_of
from promptrank.workspace.correction_files import judgements_path, reads_judgements

if TYPE_CHECKING:
    from promptrank.scores.scores import Scores

LastSample = Callable[[str], "tuple[Scores, Scores] | None"]
_KINDS = ("answer", "preference", "skip")
_MOST_CARDS = 5


@dataclass(slots=True)
class _Pools:
    """Pools that were read, by file and part; one is read again when its file has changed."""

    _held: dict[tuple[str, str], tuple[Any, LabelPool]] = field(default_factory=dict)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, asked: LabelAsked) -> LabelPool | None:
        """None where the task has no request file."""
        if not asked.task.request_files:
            return None
        path = asked.task.request_files[0]
        async with self._reading:
            try:
                about = path.stat()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from None
            stamp = path, about.st_mtime_ns, about.st_size
            key = asked.task.name, asked.part
            held = self._held.get(key)
            if held is None or held[0] != stamp:
                pool = await asyncio.to_thread(read_pool, asked.task.opened, path, asked.part)
                held = self._held[key] = stamp, pool
            return held[1]


def ways(desk: Desk, last_sample: LastSample) -> list[Way]:
    """The paths of the page.

    Args:
        last_sample: what the latest sample of a task was scored by its edit and the saved version.
    """
    pools = _Pools()

    async def label(request: Request) -> Response:
        asked = asked_of(desk, request.query_params)
        path = judgements_path(asked.task.opened)
        return page(
            desk,
            request,
            "label.html.jinja",
            task=asked.task,
            asked=asked,
            questions=asked.task.opened.task.questions,
            parts=parts_of_task(asked.task.opened),
            file=path.relative_to(asked.task.opened.project).as_posix(),
            reads=await asyncio.to_thread(_reads, asked.task),
            progress=await asyncio.to_thread(progress_of, path, asked.what, None),
        )

    async def next_cards(request: Request) -> Response:
        given = request.query_params
        asked, who = asked_of(desk, given), given.get("who", "")
        pool = await pools.of(asked)
        if pool is None:
            return fragment("label_end.html.jinja", task=asked.task, why="no file")
        held_by_page = [key for key in given.get("not", "").split(",") if key]
        both = None
        if asked.by == DIFFERENT:
            both = await asyncio.to_thread(last_sample, asked.task.name)
            if both is None:
                return fragment("label_end.html.jinja", task=asked.task, why="no sample")
        count = min(int(given.get("n", "3")) if given.get("n", "3").isdigit() else 1, _MOST_CARDS)
        wanted = CardsWanted(who, asked.question, asked.labels, held_by_page)
        shown = await asyncio.to_thread(_shown, desk, asked, pool, both, wanted, count)
        if not shown:
            why = "all seen" if pool.requests else "no requests"
            return fragment("label_end.html.jinja", task=asked.task, why=why, part=asked.part)
        return fragment("label_cards.html.jinja", cards=shown, asked=asked)

    async def judge(request: Request) -> Response:
        given = await fields_of(request)
        asked = asked_of(desk, given)
        row = await _row(given, asked, pools)
        return await _kept(asked, row, pools)

    async def undo(request: Request) -> Response:
        given = await fields_of(request)
        asked = asked_of(desk, given)
        named = given.get("id", ""), time.time(), given.get("who", "")
        row = Judgement(*named, "undo", undoes=given.get("undoes", ""))
        return await _kept(asked, row, pools)

    async def progress(request: Request) -> Response:
        asked = asked_of(desk, request.query_params)
        return await _progress(asked, request.query_params.get("who", ""), pools)

    async def export(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        kind = request.query_params.get("as", "")
        if kind not in KINDS:
            raise refuse(404, "not_served", f"no export as {kind!r}; {', '.join(KINDS)}")
        made = await asyncio.to_thread(exported, task.name, judgements_path(task.opened), kind)
        name = f"{task.name.replace('/', '-')}-judgements.{kind}"
        headers = {"Content-Disposition": f'attachment; filename="{_plain(name)}"'}
        return Response(made, media_type=KINDS[kind], headers=headers)

    return [
        Way("/label", label),
        Way("/label/cards", next_cards),
        Way("/label/progress", progress),
        Way("/label/export", export),
        Way("/label/judge", judge, posts=True, writes=True),
        Way("/label/undo", undo, posts=True, writes=True),
    ]


def _shown(
    desk: Desk,
    asked: LabelAsked,
    pool: LabelPool,
    both: "tuple[Scores, Scores] | None",
    wanted: CardsWanted,
    count: int,
) -> list[dict[str, Any]]:
    """The next cards with what is read on them; one that cannot be shown is passed over."""
    ranker = desk.served(asked.task).ranker
    pairs = asked.question is None
    order = pool.random(pairs=pairs)
    if asked.by == UNCERTAIN:
        order = pool.uncertain(ranker, asked.question, pairs=pairs)
    elif both is not None:
        order = pool.different(*both, pairs=pairs)
    held = standing(read_judgements(judgements_path(asked.task.opened)))
    made = cards(list(pool.requests.values()), held, wanted, order)
    return list(islice(_readable(asked, pool, ranker, made), count))


def _readable(asked: LabelAsked, pool: LabelPool, ranker: Any, made: Any) -> Any:
    for card in made:
        texts = pool.texts(card.request, ranker)
        if all(name in texts.candidates for name in card.candidate_ids):
            yield _told(asked, card, texts)


def _told(asked: LabelAsked, card: Card, texts: Any) -> dict[str, Any]:
    question = asked.task.opened.task.questions.get(card.question or "")
    return {
        "key": card.key,
        "request_id": card.request.request_id,
        "subject_id": card.request.subject.subject_id,
        "subject": texts.subject,
        "events": texts.events,
        "candidates": [(name, texts.candidates[name]) for name in card.candidate_ids],
        "shown": texts.shown(card.candidate_ids),
        "question": card.question,
        "ask": "" if question is None else question.ask or f"{card.question}?",
        "choices": [] if question is None else choices_of(question),
    }


async def _row(given: Any, asked: LabelAsked, pools: _Pools) -> Judgement:
    """The judgement that a page sends.

    Raises:
        Refused: it is about what is not in the pool, or no answer of the task.
    """
    pool = await pools.of(asked)
    request = pool.requests.get(given.get("request_id", "")) if pool is not None else None
    names = tuple(given[name] for name in ("first", "second") if name in given)
    there = {c.candidate_id for c in request.candidates} if request is not None else set()
    if request is None or not set(names) <= there:
        raise refuse(
            422, "not_there", "that request or candidate is not in the request file any more"
        )
    kind, answer = given.get("kind"), given.get("answer", "")
    if kind not in _KINDS:
        raise refuse(422, "wrong_input", f"kind: one of {', '.join(_KINDS)}")
    question = asked.question or ""
    if len(names) != (1 if question else 2) or (question and kind == "preference"):
        raise refuse(
            422, "wrong_input", "candidate_ids: one for a question, two to say which fits better"
        )
    if kind == "answer":
        answers = (*asked.task.opened.task.questions[question].answers, DROP) if question else ()
        if answer not in answers:
            raise refuse(422, "wrong_input", f"no answer {answer!r}; {', '.join(answers)}")
    return Judgement(
        given.get("id", ""),
        time.time(),
        given.get("who", ""),
        kind,
        request.request_id,
        request.subject.subject_id,
        names,
        question,
        answer if kind == "answer" else "",
        given.get("preferred") or None,
        given.get("comment", "").strip(),
        asked.by,
        given.get("shown", "")[:64],
    )


async def _kept(asked: LabelAsked, row: Judgement, pools: _Pools) -> Response:
    path = judgements_path(asked.task.opened)
    line_of(row)  # what is wrong with the row itself stays wrong
    try:
        await asyncio.to_thread(append_judgements, path, [row])
    except InputError as error:
        # A busy lock and a damaged line pass, and the page asks again.
        raise refuse(503, "not_kept", str(error)) from None
    except OSError as error:
        why = f"{path}: cannot be written ({error.strerror or error})"
        raise refuse(503, "not_kept", why) from None
    return await _progress(asked, row.labeller, pools)


async def _progress(asked: LabelAsked, who: str, pools: _Pools) -> Response:
    path, total = judgements_path(asked.task.opened), None
    if asked.question is not None and asked.labels == "all":
        pool = await pools.of(asked)
        total = pool.candidates if pool is not None else None
    told = await asyncio.to_thread(progress_of, path, asked.what, who, total)
    return fragment("label_progress.html.jinja", progress=told, what=asked.what)


def _reads(task: DeskTask) -> bool:
    """Whether the task takes its labels from the judgements, as its file is now."""
    try:
        return reads_judgements(task.drafted(task.saved()))
    except InputError:
        return reads_judgements(task.opened)


def _plain(name: str) -> str:
    kept = string.ascii_letters + string.digits + "-_."
    return "".join(c if c in kept else "_" for c in name)
