"""The teacher store: answer log-probs kept by prompt and model, so that none is computed twice.

A folder of parquet files, written once each and never changed:

    teacher/<model>/model.json          what answered: engine, model, adapter, their digests
    teacher/<model>/part-<digest>.parquet   prompt, and per question logprobs, label_mass, argmax

A part bears the digest of its own bytes in its name, and its numbers are looked at when it is read:
a part that was damaged is refused, never answered from. Parts of older versions bear a random name,
and their numbers alone are looked at.

``<model>`` is a digest of the model's weights, its dtype and the adapter's weights. A prompt's key
is a digest of its token ids: prefix, branch, slots and answer paths. So another template, history
or answer wording is another key, whatever task, file or run it comes from, and a prompt that two
tasks share is answered once.
"""

import hashlib
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promptrank.basics.files import beside, write_json
from promptrank.basics.leftovers import clear_parts
from promptrank.basics.owner import owned
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

Digest = Callable[[str | None], str | None]
"""An adapter folder -> the digest of its weights."""

_SCHEMA = pa.schema(
    [
        ("prompt", pa.binary(16)),
        ("logprobs", pa.list_(pa.list_(pa.float64()))),
        ("label_mass", pa.list_(pa.float64())),
        ("argmax", pa.list_(pa.int32())),
    ]
)
_WINDOW = 256  # trees looked up together
_PART = 50_000  # answered prompts of one file
_PATIENCE = 60.0  # seconds to wait while others write their parts
_NAME = 32  # hex digits of a digest in a part's name; random names had 12
_ROUNDING = 1e-3  # by so much a log-prob may stand above 0
_SECONDS = 30.0  # at most this much work is lost to a kill


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
        self._parts: dict[str | None, _Answers] = {}

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

    def _of(self, adapter: str | None) -> "_Answers":
        if adapter not in self._parts:
            info, digest = self.inner.info, self._digest(adapter)
            facts = json.dumps([info.digest, info.dtype, digest]).encode()
            name = hashlib.blake2b(facts, digest_size=8).hexdigest()
            about: dict[str, str | None] = {
                "model": info.model,
                "model_digest": info.digest,
                "dtype": info.dtype,
            }
            about |= {"engine": info.name, "adapter": adapter, "adapter_digest": digest}
            self._parts[adapter] = _Answers(self.folder / name, about)
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


class _Answers:
    """The answers of one model: all keys in memory, about 150 bytes each; values as Arrow."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self._about = folder, about
        self._tables: list[pa.Table] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self._fresh: dict[bytes, tuple[SlotScore, ...]] = {}
        self._since = time.monotonic()
        for path in sorted(folder.glob("part-*.parquet")):
            self._read(path)

    def get(self, key: bytes) -> tuple[SlotScore, ...] | None:
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._places:
            return None
        table, row = self._places[key]
        logprobs, mass, argmax = (self._tables[table].column(i)[row].as_py() for i in (1, 2, 3))
        return tuple(
            SlotScore(tuple(lp), m, best)
            for lp, m, best in zip(logprobs, mass, argmax, strict=True)
        )

    def add(self, key: bytes, score: tuple[SlotScore, ...]) -> None:
        self._fresh[key] = score
        if len(self._fresh) >= _PART or time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the fresh answers as one more part."""
        self._since = time.monotonic()
        if not self._fresh:
            return
        rows = list(self._fresh.items())
        table = pa.table(
            {
                "prompt": [key for key, _ in rows],
                "logprobs": [[list(s.logprobs) for s in score] for _, score in rows],
                "label_mass": [[s.label_mass for s in score] for _, score in rows],
                "argmax": [[s.argmax for s in score] for _, score in rows],
            },
            schema=_SCHEMA,
        )
        made = pa.BufferOutputStream()
        pq.write_table(table, made, compression="zstd")
        data = made.getvalue().to_pybytes()
        # Parts never change and never share a name: several processes fill one store, in turn.
        with owned(self.folder, "teacher store", wait=_PATIENCE):
            clear_parts(self.folder)
            about = self.folder / "model.json"
            if not about.is_file():
                write_json(about, self._about)
            path = self.folder / f"part-{hashlib.sha256(data).hexdigest()[:_NAME]}.parquet"
            with beside(path) as part:
                part.write_bytes(data)
        self._take(table)
        self._fresh = {}

    def _read(self, path: Path) -> None:
        try:
            data = path.read_bytes()
            name = path.stem.removeprefix("part-")
            if len(name) == _NAME and name != hashlib.sha256(data).hexdigest()[:_NAME]:
                raise ValueError("it was damaged or changed since it was written")
            table = pq.read_table(pa.BufferReader(data), schema=_SCHEMA)
            table.validate(full=True)
            _check_numbers(table)
        except (OSError, ValueError, pa.ArrowException) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(
                f"{path}: not a part of a teacher store ({first}); remove it, and what it held is "
                "asked again"
            ) from None
        self._take(table)

    def _take(self, table: pa.Table) -> None:
        number = len(self._tables)
        self._tables.append(table.combine_chunks())
        for row, key in enumerate(table.column("prompt").to_pylist()):
            self._places[key] = number, row


def _check_numbers(table: pa.Table) -> None:
    """ValueError for numbers that no engine answers with."""
    for name in table.column_names:
        if table.column(name).null_count:
            raise ValueError(f"{name} is missing in a row")
    slots = [pc.list_value_length(table.column(name)) for name in table.column_names[1:]]
    if not all(pc.all(pc.equal(slots[0], other)).as_py() in (True, None) for other in slots[1:]):
        raise ValueError("a row has columns of several lengths")
    answers = _flat(table.column("logprobs"))
    if answers.null_count:
        raise ValueError("a slot has no log-probs")
    logs = _flat(answers)
    mass = _flat(table.column("label_mass"))
    for what, values, most in (("log-prob", logs, _ROUNDING), ("label mass", mass, 1 + _ROUNDING)):
        if values.null_count:
            raise ValueError(f"a {what} is missing")
        # NaN is not within any bound.
        if pc.all(pc.less_equal(values, most)).as_py() not in (True, None):
            raise ValueError(f"a {what} is no number or too large")
    if len(mass) and (pc.min(mass).as_py() < 0):
        raise ValueError("a label mass is below 0")
    best = _flat(table.column("argmax")).drop_null()
    if len(best) and pc.min(best).as_py() < 0:
        raise ValueError("an argmax is below 0")


def _flat(column: Any) -> Any:
    return pc.list_flatten(column)
