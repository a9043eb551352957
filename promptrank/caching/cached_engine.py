"""An engine that answers from a score cache where it can, and keeps there what it has to ask."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.basics.telling import Say, silent
from promptrank.caching.guarded_cache import GuardedCache, Kept
from promptrank.caching.known_tree import (
    KnownTree,
    answered_keys,
    answered_slots,
    joined_scores,
    partly_known,
    standing,
)
from promptrank.caching.prompt_keys import Answerer, answerer, branch_key, slot_keys
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.contract import (
    Answers,
    Branch,
    Caching,
    Engine,
    EngineInfo,
    Failure,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
    too_long,
)
from promptrank.engine.windows import in_order, windows

if TYPE_CHECKING:
    from promptrank.caching.teacher_parts import TeacherParts

SCORES = "scores"
"""Name of the score cache among the caches of an engine."""
Digest = Callable[[str | None], str | None]
"""An adapter folder -> the digest of its weights."""

_WINDOW = 256  # trees looked up together
_COUNTED = 10_000  # hits that are noted in the file together


class CachedEngine:
    """An engine before which a score cache stands.

    Keeps the engine contract: the scores of a branch, and of each of its slots, depend on itself
    alone, so a request may be answered in part from the cache. What fails is never kept. Where the
    cache cannot be used, it is said why, the engine answers, and a minute later it is tried again.

    Attributes:
        inner: the engine.
        hits: prompts, one for each candidate and question, that were answered from the cache.
        asked: prompts that the engine had to answer.
    """

    def __init__(
        self,
        inner: Engine,
        cache: ScoreCache,
        *,
        digest: Digest = adapter_digest,
        say: Say = silent,
    ) -> None:
        """Stand before an engine; closing it closes the engine and leaves the cache open.

        Args:
            digest: of adapters, as trees name them.
            say: is told why the cache cannot be used.
        """
        self.inner, self.cache = inner, cache
        self.hits = self.asked = 0
        self._digest, self._say = digest, say
        self._guarded = GuardedCache(cache, say)
        self._who: dict[str | None, Answerer] = {}
        self._parts: dict[bytes, TeacherParts] = {}
        self._uncounted: dict[str | None, int] = {}

    @property
    def info(self) -> EngineInfo:
        """The engine's own."""
        return self.inner.info

    @property
    def window(self) -> Window:
        """Trees looked up together; those not known go to the engine in windows of its own."""
        return Window(_WINDOW, sys.maxsize, self.inner.window.step)

    @property
    def groups(self) -> int:
        """The engine's own."""
        return self.inner.groups

    @property
    def caches(self) -> Mapping[str, tuple[int, int]]:
        """The engine's own, and this one under `SCORES`."""
        inner = self.inner.caches if isinstance(self.inner, Caching) else {}
        return {**inner, SCORES: (self.hits, self.asked)}

    def size(self, tree: Tree) -> int:
        """The engine's own."""
        return self.inner.size(tree)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """The first step gives the trees that are known whole; the later ones are the engine's."""
        looked = self._look_up(trees)
        places = [n for n, each in enumerate(looked) if each.unknown or not each.tree.branches]
        asked = set(places)
        whole: list[tuple[int, TreeScore]] = [
            (n, partly_known(each, answered_slots(each.known)))
            for n, each in enumerate(looked)
            if n not in asked
        ]
        for place, _ in whole:
            self._count(looked[place])
        if whole:
            yield whole
        missing = (looked[n].asked() for n in places)
        done = 0
        for together in windows(missing, self.inner.window, self.inner.size):
            with closing(self.inner.begin(together)) as steps:
                for ready in steps:
                    results = [(places[done + n], result) for n, result in ready]
                    results = self._kept(looked, results)
                    for place, _ in results:
                        self._count(looked[place])
                    yield [(n, joined_scores(looked[n], result)) for n, result in results]
            done += len(together)

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order."""
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Load an adapter folder now; see `Engine.load`."""
        self.inner.load(adapter)

    def unload(self, adapter: str) -> None:
        """Give back an adapter's memory; see `Engine.unload`."""
        self._note_hits()
        self._who.pop(adapter, None)  # its folder may hold others from now on
        self.inner.unload(adapter)

    def close(self) -> None:
        """Close the engine."""
        self._note_hits()
        self.inner.close()

    def _look_up(self, trees: Sequence[Tree]) -> list[KnownTree]:
        looked = []
        wanted: list[tuple[bytes, str | None]] = []
        for tree in trees:
            keys = slot_keys(tree, self._of(tree.adapter).scope)
            looked.append(KnownTree(tree, keys, [[None] * len(b.slots) for b in tree.branches]))
            wanted += [(key, tree.subject) for of_branch in keys or () for key in of_branch]
        known = self._guarded.look_up(wanted)
        for each in looked:
            self._fill_in(each, known)
        return looked

    def _fill_in(self, looked: KnownTree, known: Mapping[bytes, SlotScore]) -> None:
        """Put what is known in its places; what the engine would refuse stays unknown."""
        tree, most = looked.tree, self.info.max_tokens
        taken: list[Kept] = []  # from an earlier version's store
        for branch, keys, scores in zip(
            tree.branches, looked.keys or (), looked.known, strict=False
        ):
            held = [
                score if score is not None and len(score.logprobs) == len(slot.paths) else None
                for slot, score in zip(branch.slots, map(known.get, keys), strict=True)
            ]
            if None in held and (older := self._from_store(tree, branch)) is not None:
                held = list(older)
                taken += zip(keys, [tree.subject] * len(keys), older, strict=True)
            if any(held) and not too_long(tree, branch, most):
                scores[:] = held
        self._guarded.keep(self._of(tree.adapter), taken)

    def _count(self, looked: KnownTree) -> None:
        """Count a tree once it is answered: one that is tried again counts once."""
        hits, adapter = looked.hits, looked.tree.adapter
        for counted in (self, self.cache):
            counted.hits += hits
            counted.asked += sum(map(len, looked.known)) - hits
        if hits:
            self._uncounted[adapter] = self._uncounted.get(adapter, 0) + hits
            if sum(self._uncounted.values()) >= _COUNTED:
                self._note_hits()

    def _from_store(self, tree: Tree, branch: Branch) -> tuple[SlotScore, ...] | None:
        if self.cache.teacher is None:
            return None
        from promptrank.caching.teacher_parts import TeacherParts

        store = self._of(tree.adapter).store
        if store not in self._parts:
            self._parts[store] = TeacherParts(self.cache.teacher / store.hex(), self._say)
        return self._parts[store].get(branch_key(tree.prefix, branch), branch)

    def _kept(
        self, looked: Sequence[KnownTree], results: Sequence[tuple[int, TreeScore]]
    ) -> list[tuple[int, TreeScore]]:
        """Keep what the engine has answered, and nothing that failed.

        Returns:
            The results, with the first answer to whatever was asked several times; so a second run
            has the very numbers of this one.
        """
        fresh: dict[str | None, list[Kept]] = {}
        for place, result in results:
            each = looked[place]
            for keys, scores in answered_keys(each, result):
                if not isinstance(scores, Failure):
                    of = [each.tree.subject] * len(keys)
                    fresh.setdefault(each.tree.adapter, []).extend(
                        zip(keys, of, scores, strict=True)
                    )
        there: dict[bytes, SlotScore] = {}
        for adapter, answers in fresh.items():
            there |= self._guarded.keep(self._of(adapter), answers)
        return [(place, standing(looked[place], result, there)) for place, result in results]

    def _of(self, adapter: str | None) -> Answerer:
        if adapter not in self._who:
            self._who[adapter] = answerer(self.info, adapter, self._digest(adapter))
        return self._who[adapter]

    def _note_hits(self) -> None:
        counted, self._uncounted = self._uncounted, {}
        for adapter, hits in counted.items():
            self._guarded.count(self._of(adapter), hits)


def bare_engine(engine: Answers[Any]) -> Any:
    """What answers, without the cache that may stand before it."""
    return engine.inner if isinstance(engine, CachedEngine) else engine
