"""Blocks: the requests of one shard, as they come from a request file or from a sample of one."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from promptrank.basics.digests import json_digest
from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.marks import NO_IDS, FileMark, IdHashes, Marker
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.prompt_digests import content_digest


@dataclass(frozen=True)
class RequestBlock:
    """So many requests of a file, which become one shard.

    Attributes:
        unread: rows of the file that could not be read on the way to them.
        end: where in the file they end; None where they do not come from one as it is read.
        ids: hashes of the ids that the reader came to on the way to them.
    """

    number: int
    requests: list[Request]
    unread: list[ErrorRow]
    end: FileMark | None = None
    ids: IdHashes = field(default_factory=lambda: NO_IDS)

    @cached_property
    def contents(self) -> Mapping[str, str]:
        """request_id -> digest of the request."""
        return {request.request_id: content_digest(request) for request in self.requests}

    @cached_property
    def content(self) -> str:
        """Digest of all of it."""
        return json_digest([[*self.contents.values()], content_digest(*self.unread)])


@dataclass(frozen=True, slots=True)
class Before:
    """What was read before a block.

    Attributes:
        blocks: how many.
        end: of the last of them.
        ids: of each.
    """

    blocks: int = 0
    end: FileMark | None = None
    ids: Sequence[IdHashes] = ()


Blocks = Callable[[Before], Iterator[RequestBlock]]
"""The blocks of a run from a place on; which requests one has does not depend on the place."""


def request_blocks(
    file: RequestFile,
    splits: set[str] | None,
    ids: set[str] | None,
    size: int,
    before: Before = Before(),
) -> Iterator[RequestBlock]:
    """The requests of these parts and ids, so many at a time, in the order of the file.

    Args:
        before: what not to read again.
    """
    unread: list[ErrorRow] = []

    def lose(row: ErrorRow) -> None:
        if ids is None or row.request_id is None or row.request_id in ids:
            unread.append(row)

    for row in () if before.blocks else file.set_aside:
        lose(row)
    marker, number = Marker(), before.blocks
    requests = file.read(splits, ids, lose, before.end, before.ids, marker)
    while chosen := list(islice(requests, size)):
        told, unread[:] = list(unread), []
        yield RequestBlock(number, chosen, told, marker.mark, marker.taken())
        number += 1
    if unread:
        yield RequestBlock(number, [], unread, marker.mark, marker.taken())


def sample_blocks(
    sample: Sample,
    size: int,
    before: Before = Before(),
) -> Iterator[RequestBlock]:
    """The requests of a sample, so many at a time, each with the rows that it lost.

    Rows of no request, and those far from the others of their request, come last.
    """
    aside: dict[str, list[ErrorRow]] = {}
    for row in sample.file.set_aside:
        aside.setdefault(row.request_id or "", []).append(row)

    def lost(name: str) -> list[ErrorRow]:
        return [*aside.get(name, ()), *sample.lost.get(name, ())]

    told: Counter[str] = Counter()
    number, requests = 0, iter(sample)
    while chosen := list(islice(requests, size)):
        rows = []
        for request in chosen:
            more = lost(request.request_id)
            told[request.request_id] = len(more)
            rows += more
        if number >= before.blocks:
            yield RequestBlock(number, chosen, rows)
        number += 1
    names = (name for name in {**aside, **sample.lost} if not name or name in sample.ids)
    late = [row for name in names for row in lost(name)[told[name] :]]
    if late and number >= before.blocks:
        yield RequestBlock(number, [], late)
