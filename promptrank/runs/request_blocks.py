"""Blocks: the requests of one shard, as they come from a request file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from promptrank.basics.digests import json_digest
from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.source import RequestFile
from promptrank.runs.prompt_digests import content_digest


@dataclass(frozen=True)
class RequestBlock:
    """So many requests of a file, which become one shard.

    Attributes:
        unread: rows of the file that could not be read on the way to them.
    """

    number: int
    requests: list[Request]
    unread: list[ErrorRow]

    @cached_property
    def contents(self) -> Mapping[str, str]:
        """request_id -> digest of the request."""
        return {request.request_id: content_digest(request) for request in self.requests}

    @cached_property
    def content(self) -> str:
        """Digest of all of it."""
        return json_digest([[*self.contents.values()], content_digest(*self.unread)])


def request_blocks(
    file: RequestFile, splits: set[str] | None, ids: set[str] | None, size: int
) -> Iterator[RequestBlock]:
    """The requests of these parts and ids, so many at a time, in the order of the file."""
    unread = list(file.set_aside)
    requests = file.read(splits, ids, unread.append)
    number = 0
    while chosen := list(islice(requests, size)):
        told, unread[:] = list(unread), []
        yield RequestBlock(number, chosen, told)
        number += 1
    if unread:
        yield RequestBlock(number, [], unread)
