"""Keys of answers: what answered, and every token id that an answer depends on.

A key is a keyed BLAKE2b of 16 bytes. Its key is the scope, a digest of the model's weights, their
dtype, the adapter's weights, and the device (a CPU adds nothing); its text are the token ids of
prefix, branch, slot and answer paths. So another template, history or answer wording is another
key, whatever task, file or run it comes from, and a prompt that two tasks share is answered once.
"""

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from promptrank.engine.contract import Branch, EngineInfo, Ids, Tree

_SIZE = 16  # bytes of a key


@dataclass(frozen=True)
class Answerer:
    """What answers: a model, by its weights and how they compute, with or without an adapter.

    Attributes:
        engine, model: names, which do not count in keys.
        model_digest: SHA-256 over the model's weights and config.
        dtype: of the weights.
        device: kind of device; None where the engine does not say.
        adapter: folder of the adapter, which does not count in keys either.
        adapter_digest: SHA-256 over the adapter's config and weights.
    """

    engine: str
    model: str
    model_digest: str
    dtype: str
    device: str | None
    adapter: str | None
    adapter_digest: str | None

    @cached_property
    def scope(self) -> bytes:
        """Eight bytes that stand for all of it that may change an answer."""
        return self._digest([] if self.device == "cpu" else [self.device or "unknown"])

    @cached_property
    def store(self) -> bytes:
        """The same in teacher stores of older versions, which took an unnamed device for a CPU."""
        return self._digest([] if self.device in (None, "cpu") else [self.device])

    def _digest(self, device: Sequence[str | None]) -> bytes:
        facts = [self.model_digest, self.dtype, self.adapter_digest, *device]
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).digest()


def answerer(info: EngineInfo, adapter: str | None, adapter_digest: str | None) -> Answerer:
    """An engine with an adapter of it."""
    return Answerer(
        info.name, info.model, info.digest, info.dtype, info.device, adapter, adapter_digest
    )


def slot_keys(tree: Tree, scope: bytes) -> list[tuple[bytes, ...]] | None:
    """For each branch a key per slot; None where an id is none that a model could have."""
    try:
        start = hashlib.blake2b(_packed(tree.prefix), digest_size=_SIZE, key=scope)
        keys = []
        for branch in tree.branches:
            before = start.copy()
            before.update(_packed(branch.ids))
            of_slots = []
            for slot in branch.slots:
                digest = before.copy()
                digest.update(_packed(slot.ids))
                for path in slot.paths:
                    digest.update(_packed(path))
                of_slots.append(digest.digest())
            keys.append(tuple(of_slots))
        return keys
    except OverflowError:
        return None


def branch_key(prefix: Ids, branch: Branch) -> bytes:
    """The key of a branch with all its slots, without a scope: those of teacher stores."""
    digest = hashlib.blake2b(_packed(prefix), digest_size=_SIZE)
    digest.update(_packed(branch.ids))
    for slot in branch.slots:
        digest.update(_packed(slot.ids))
        for path in slot.paths:
            digest.update(_packed(path))
    return digest.digest()


def _packed(ids: Sequence[int]) -> bytes:
    """The ids with their number before them, so that no two lists of lists read alike."""
    return array("I", [len(ids), *ids]).tobytes()
