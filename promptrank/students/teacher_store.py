"""The teacher store: answer log-probs kept by prompt and model, so that none is computed twice.

A folder of parquet files, written once each and never changed:

    teacher/<model>/model.json          what answered: engine, model, adapter, their digests
    teacher/<model>/part-<digest>.parquet   prompt, and per question logprobs, label_mass, argmax

A part bears the digest of its own bytes in its name, and its numbers are looked at when it is read:
a part that was damaged is refused, never answered from. Parts of older versions bear a random name,
and their numbers alone are looked at.

``<model>`` is a digest of the model's weights, its dtype, the adapter's weights, and the device
where that is no CPU. A prompt's key
is a digest of its token ids: prefix, branch, slots and answer paths. So another template, history
or answer wording is another key, whatever task, file or run it comes from, and a prompt that two
tasks share is answered once.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptrank.engine.contract import (
    Branch,
    BranchScore,
    Engine,
    EngineInfo,
    Failure,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.engine.windows import in_order, windows
from promptrank.errors import DataError
from promptrank.students.teacher_answers import StoredAnswers

Digest = Callable[[str | None], str | None]
"""An adapter folder -> the digest of its weights."""

_WINDOW = 256  # trees looked up together


class StoredEngine:
    """An engine that answers from the store where it can, and stores what it has to ask.

    Keeps the engine contract: a branch's scores depend on that branch alone, so a request may be
    answered in part from the store.

    Attributes:
        asked: branches that the engine inside had to score.
        found: branches that were answered from the store.
    """

    def __init__(self, inner: Engine, folder: Path, digest: Digest) -> None:
        self.inner, self.folder, self._digest = inner, folder, digest
        self.asked = self.found = 0
        self._parts: dict[str | None, StoredAnswers] = {}

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

    def size(self, tree: Tree) -> int:
        """The engine's own."""
        return self.inner.size(tree)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """The first step gives the trees that are known whole; the later ones are the engine's."""
        known = [self._known(tree) for tree in trees]
        whole: list[tuple[int, TreeScore]] = []
        places = []
        for place, scores in enumerate(known):
            answered = tuple(score for score in scores if score is not None)
            if answered and len(answered) == len(scores):
                whole.append((place, answered))
                self.found += len(answered)
            else:
                places.append(place)
        if whole:
            yield whole
        missing = (_unknown_part(trees[n], known[n]) for n in places)
        done = 0
        for together in windows(missing, self.inner.window, self.inner.size):
            with closing(self.inner.begin(together)) as steps:
                for ready in steps:
                    yield [
                        (place := places[done + n], self._joined(together[n], known[place], result))
                        for n, result in ready
                    ]
            done += len(together)

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order."""
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Load an adapter folder now; see `Engine.load`."""
        self.inner.load(adapter)

    def unload(self, adapter: str) -> None:
        """Give back an adapter's memory; see `Engine.unload`."""
        self.inner.unload(adapter)

    def close(self) -> None:
        """Write what was answered since the last file, and close the engine."""
        for answers in self._parts.values():
            answers.flush()
        self.inner.close()

    def _joined(
        self, asked: Tree, known: Sequence[tuple[SlotScore, ...] | None], result: TreeScore
    ) -> TreeScore:
        """Known and fresh answers of a tree in its order; the fresh ones are kept."""
        self.asked += len(asked.branches)
        self.found += len(known) - len(asked.branches)
        if isinstance(result, Failure):
            if len(asked.branches) == len(known):
                return result
            return tuple(result if score is None else score for score in known)
        self._keep(asked, result)
        fresh = iter(result)
        return tuple(next(fresh) if score is None else score for score in known)

    def _known(self, tree: Tree) -> list[tuple[SlotScore, ...] | None]:
        answers = self._of(tree.adapter)
        known = [answers.get(key) for key in prompt_keys(tree, tree.branches)]
        for branch, score in zip(tree.branches, known, strict=True):
            if score is not None and not _answer(branch, score):
                raise DataError(
                    f"{answers.folder}: holds an answer to another question than was asked; remove "
                    "the folder, and its prompts are asked again"
                )
        return known

    def _keep(self, asked: Tree, result: Sequence[BranchScore]) -> None:
        answers = self._of(asked.adapter)
        for key, score in zip(prompt_keys(asked, asked.branches), result, strict=True):
            if not isinstance(score, Failure):
                answers.add(key, score)

    def _of(self, adapter: str | None) -> "StoredAnswers":
        if adapter not in self._parts:
            info, digest = self.inner.info, self._digest(adapter)
            facts = [info.digest, info.dtype, digest]
            if info.device not in (None, "cpu"):
                facts.append(info.device)
            name = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
            about: dict[str, str | None] = {
                "model": info.model,
                "model_digest": info.digest,
                "dtype": info.dtype,
                "device": info.device,
            }
            about |= {"engine": info.name, "adapter": adapter, "adapter_digest": digest}
            self._parts[adapter] = StoredAnswers(self.folder / name, about)
        return self._parts[adapter]


def _unknown_part(tree: Tree, known: Sequence[tuple[SlotScore, ...] | None]) -> Tree:
    """The tree with those branches alone whose answers are not known."""
    pairs = zip(tree.branches, known, strict=True)
    return replace(tree, branches=tuple(branch for branch, score in pairs if score is None))


def prompt_keys(tree: Tree, branches: Sequence[Branch]) -> Iterator[bytes]:
    """A 16-byte key per branch, over all token ids that its answers depend on."""
    start = _started(tree.prefix)
    for branch in branches:
        key = start.copy()
        key.update(_bytes(branch.ids))
        for slot in branch.slots:
            key.update(_bytes(slot.ids))
            for path in slot.paths:
                key.update(_bytes(path))
        yield key.digest()


def _started(ids: Sequence[int]) -> Any:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_bytes(ids))
    return digest


def _bytes(ids: Sequence[int]) -> bytes:
    """The ids with their number before them, so that no two lists of lists read alike."""
    return array("I", [len(ids), *ids]).tobytes()


def _answer(branch: Branch, score: tuple[SlotScore, ...]) -> bool:
    """Whether a score has as many slots as a branch, and each as many answers."""
    given = [len(slot.logprobs) for slot in score]
    fits = given == [len(slot.paths) for slot in branch.slots]
    return fits and all(s.argmax is None or s.argmax < len(s.logprobs) for s in score)
