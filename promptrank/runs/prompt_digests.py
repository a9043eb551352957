"""Digests of what is asked: of requests, and of the prompts that they become."""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import orjson

from promptrank.basics.digests import json_digest
from promptrank.engine.contract import Ids, Slot, Tree, TreeScore
from promptrank.errors import ErrorRow
from promptrank.ranking.method import Work
from promptrank.records import Request

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def content_digest(*records: Request | ErrorRow) -> str:
    """SHA-256 over requests and rows that could not be read, in their order."""
    whole = hashlib.sha256()
    for record in records:
        whole.update(_json(record))
        whole.update(b"\n")
    return whole.hexdigest()


def _json(record: Any) -> bytes:
    try:
        return orjson.dumps(record, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:  # a lone surrogate, or a whole number beyond 64 bits
        return repr(record).encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


class PromptDigests:
    """A `promptrank.ranking.loop.Watch` that notes what each request's prompts are.

    What a request is asked are the token ids of its first round, answers included; the request
    itself where the engine reads fields.
    """

    def __init__(self, digest_of: Callable[[Work], str] | None = None) -> None:
        """Nothing is noted yet.

        Args:
            digest_of: `work_digest`, or what knows its digests from elsewhere.
        """
        self._by_request: dict[str, str] = {}
        self._digest_of = digest_of or work_digest

    def of(self, request: Request) -> str | None:
        """SHA-256 over its prompts and over whose they are, so that equal ones give equal rows.

        None where nothing was asked.
        """
        prompts = self._by_request.get(request.request_id)
        if prompts is None:
            return None
        names = [[c.candidate_id, c.item.item_id] for c in request.candidates]
        return json_digest([prompts, request.subject.subject_id, names])

    def forget(self, request: Request) -> None:
        """As if it had not been asked."""
        self._by_request.pop(request.request_id, None)

    def __call__(self, works: Sequence[Work], results: Sequence["Future[TreeScore]"]) -> None:
        """Take down works that are submitted."""
        for work in works:
            name = work.tree_id if isinstance(work, Tree) else work.request_id
            if name not in self._by_request:
                self._by_request[name] = self._digest_of(work)


def work_digest(work: Work) -> str:
    """SHA-256 over what an engine is asked; an adapter does not count."""
    if not isinstance(work, Tree):
        return content_digest(work)
    whole = hashlib.sha256(_counted(work.prefix))
    slots_of: dict[int, bytes] = {}  # most often all branches have the very same slots
    for branch in work.branches:
        whole.update(_counted(branch.ids))
        slots = slots_of.get(id(branch.slots))
        if slots is None:
            slots = slots_of[id(branch.slots)] = b"".join(map(_counted, _parts(branch.slots)))
        whole.update(slots)
        whole.update(b";")
    return whole.hexdigest()


def _parts(slots: Sequence[Slot]) -> Iterator[Ids]:
    for slot in slots:
        yield slot.ids
        yield from slot.paths


def _counted(ids: Ids) -> bytes:
    """How many ids, and these."""
    return len(ids).to_bytes(4, "little") + array("q", ids).tobytes()
