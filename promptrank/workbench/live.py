"""A draft ranked while somebody types: checked, encoded, ranked, and told of at each stage.

Nothing is remembered of drafts but what makes the next answer quicker. Who closes the connection,
as the page does at the next key, ends the ranking at its next piece.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Progress
from promptrank.engine.contract import TreeScore
from promptrank.errors import InputError
from promptrank.prompt.preview import Preview
from promptrank.ranking.method import Work
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.posing import Prompts
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runtime.pieces import Pieces
from promptrank.serve.refused import Refused
from promptrank.serve.seats import Ticket
from promptrank.workbench.checking import Draft, DraftChecks, misfits_of_rows
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.request_choice import RequestShelf, few
from promptrank.workspace.drafts import TaskTexts

AT_ONCE = 6
"""Drafts that are checked at one time; they are ranked one after the other."""
_SLOW = 2.0  # seconds that the blocks of one candidate and one event may take
_RANKINGS = 32

Told = tuple[str, Any]
"""What there is to show: its kind and its value."""
Tell = Callable[[str, Any], None]
_SAME_PROMPTS = (
    "the text is not the one that the adapter was trained with, and the prompts of this request "
    "are the same"
)


class GivenUp(Exception):
    """Nobody waits for this draft any more."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """A request's prompts under a draft and under the saved version.

    Attributes:
        saved_preview: None where the saved version cannot be ranked with.
    """

    request: Request
    draft: Draft
    preview: Preview
    saved: Draft
    saved_preview: Preview | None

    @property
    def same(self) -> bool:
        """Whether the draft says what is saved."""
        return self.draft.ranker is self.saved.ranker

    @property
    def as_trained(self) -> bool:
        """Whether the prompts are those of the saved version, and its adapter's."""
        if self.saved_preview is None or self.saved.other_words:
            return False
        return self.preview.encoded.tree == self.saved_preview.encoded.tree


@dataclass(frozen=True, slots=True)
class LiveRanked:
    """A draft's ranking, and that of the saved version where it is there yet and differs."""

    seen: Previewed
    ranking: Ranking
    saved: Ranking | None


class LiveRanking:
    """Ranks drafts beside the server's own requests."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.checks, self.shelf = desk, DraftChecks(desk), RequestShelf()
        self._pool = ThreadPoolExecutor(AT_ONCE, "draft")
        self._turn, self._lock = Lock(), Lock()
        self._rankings: OrderedDict[str, Ranking] = OrderedDict()

    async def tried(self, task: DeskTask, fields: Mapping[str, str]) -> AsyncGenerator[Told, None]:
        """What the page shows, as it becomes known; closing it gives the ranking up.

        ``status`` (text, busy), ``checked`` (a `Draft`), ``prompt`` (a `Previewed`), ``ranked`` (a
        `LiveRanked`), ``failed`` (text), ``waiting`` (text; to be tried again in a moment).
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Told | None]()

        def tell(kind: str, value: Any) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, (kind, value))

        trial = Trial(tell)
        thread = self._pool.submit(self._try, task, fields, trial)
        thread.add_done_callback(lambda _: loop.call_soon_threadsafe(queue.put_nowait, None))
        try:
            while (told := await queue.get()) is not None:
                yield told
            thread.result()
        except Refused as error:
            yield "waiting" if error.refusal.reason == "loading" else "failed", str(error)
        except InputError as error:
            yield "failed", str(error)
        except (CancelledError, GivenUp):
            return
        finally:
            trial.give_up()
            thread.cancel()

    def previewed(self, task: DeskTask, fields: Mapping[str, str]) -> Previewed:
        """The chosen request's prompts under the texts of a form; nothing is ranked.

        Raises:
            InputError: the texts or the request cannot be used.
        """
        draft = self.checks.check(task, texts_of(task, fields))
        if draft.ranker is None:
            raise InputError("\n".join(misfit.message for misfit in draft.misfits))
        return self._previewed(task, fields, draft, draft.ranker)

    def _try(self, task: DeskTask, fields: Mapping[str, str], trial: "Trial") -> None:
        trial.tell("status", "checking")
        draft = self.checks.check(task, texts_of(task, fields))
        # Only prompts show whether another text words them otherwise.
        checked = draft.without_adapter()
        trial.tell("checked", checked)
        if draft.ranker is None:
            return
        trial.tell("status", "encoding")
        seen = self._previewed(task, fields, draft, draft.ranker)
        rows = misfits_of_rows(draft.texts, seen.preview.encoded.errors)
        known = draft.without_adapter(_SAME_PROMPTS) if seen.as_trained else draft
        if rows or known.notes != checked.notes:
            trial.tell("checked", replace(known, misfits=rows))
        trial.tell("prompt", seen)
        if seen.preview.encoded.tree is None:
            return
        with trial.turn(self._turn):
            self._rank(seen, draft.ranker, trial)

    def _previewed(
        self, task: DeskTask, fields: Mapping[str, str], draft: Draft, ranker: Ranker
    ) -> Previewed:
        request = few(self.shelf.request(task, fields))
        _check_quick(ranker, request)
        saved = self.checks.saved(task)
        preview = _preview(ranker, request)
        before = None
        if saved.ranker is not None:
            before = preview if saved.ranker is ranker else _preview(saved.ranker, request)
        return Previewed(request, draft, preview, saved, before)

    def _rank(self, seen: Previewed, ranker: Ranker, trial: "Trial") -> None:
        before = seen.saved.ranker if not seen.same else None
        ranking = self._ranking(ranker, seen.request, "ranking", trial)
        known = self._known(before, seen.request) if before is not None else None
        trial.tell("ranked", LiveRanked(seen, ranking, known))
        if before is not None and known is None:
            saved = self._ranking(before, seen.request, "ranking the saved version", trial)
            trial.tell("ranked", LiveRanked(seen, ranking, saved))

    def _known(self, ranker: Ranker, request: Request) -> Ranking | None:
        with self._lock:
            return self._rankings.get(_key(ranker, request))

    def _ranking(self, ranker: Ranker, request: Request, what: str, trial: "Trial") -> Ranking:
        """The request's ranking, in pieces that let others in between."""
        if (known := self._known(ranker, request)) is not None:
            return known

        def told(done: int, total: int | None) -> None:
            trial.tell("status", f"{what} {done}/{total}")

        ranking = rank_in_pieces(ranker, request, told, trial.watch)
        with self._lock:
            self._rankings[_key(ranker, request)] = ranking
            while len(self._rankings) > _RANKINGS:
                self._rankings.popitem(last=False)
        return ranking


class Trial:
    """One draft being tried, which may be given up from any thread."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._stopped = tell, Event()
        self._ticket = Ticket(lambda _: 0)

    def tell(self, kind: str, value: Any) -> None:
        """Show something.

        Raises:
            GivenUp: nobody looks any more.
        """
        if self._stopped.is_set():
            raise GivenUp
        self._tell(kind, value)

    def watch(self, works: Sequence[Work], results: Sequence[Future[TreeScore]]) -> None:
        """A `promptrank.ranking.loop.Watch`."""
        self._ticket.watch(works, results)

    def give_up(self) -> None:
        """What is not computed yet never is."""
        self._stopped.set()
        self._ticket.give_up()

    def turn(self, lock: Lock) -> "DraftTurn":
        """The lock, waited for as long as somebody looks."""
        return DraftTurn(lock, self)


class DraftTurn:
    """A lock that is held inside ``with``."""

    def __init__(self, lock: Lock, trial: Trial) -> None:
        self._lock, self._trial = lock, trial

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=0.2):
            self._trial.tell("status", "waiting for another draft")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def rank_in_pieces(
    ranker: Ranker,
    request: Request,
    told: Progress,
    watch: Callable[[Sequence[Work], Sequence[Future[TreeScore]]], None],
) -> Ranking:
    """A request's ranking, a few candidates at a time; the server's requests come in between.

    Policy steps are left out: what is looked at is what an edit does to the ranker.

    Raises:
        CancelledError: (of concurrent.futures) whoever watches has given it up.
    """
    mine = copy(ranker)
    mine.put_before(Pieces(ranker.opened, told))
    return next(mine.rank_many([request], watch=watch, policy=False))


def texts_of(task: DeskTask, fields: Mapping[str, str]) -> TaskTexts:
    """The texts in a form; the saved one where it has none."""
    saved = task.saved()
    return TaskTexts(
        fields.get("task_text", saved.task),
        fields.get("template_text", saved.template),
        saved.template_name,
    )


def _preview(ranker: Ranker, request: Request) -> Preview:
    posing = ranker.method.posing if isinstance(ranker.method, Pointwise) else None
    if not isinstance(posing, Prompts):
        raise InputError("this task has no prompt: a student reads its fields")
    return posing.preview(request)


def _check_quick(ranker: Ranker, request: Request) -> None:
    """Refuse a template so slow that a request would hold others up.

    Its meter bounds each block; a request has very many of them.
    """
    begun = time.monotonic()
    _preview(
        ranker, replace(request, candidates=request.candidates[:1], history=request.history[:1])
    )
    if (seconds := time.monotonic() - begun) > _SLOW:
        raise InputError(
            f"the template took {seconds:.1f} s for one candidate and one event; loop over less"
        )


def _key(ranker: Ranker, request: Request) -> str:
    return json_digest([ranker.origin.as_dict(), repr(request)])
