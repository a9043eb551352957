"""Blocks of requests with their prompts, as a process of their own prepares them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from promptrank.errors import DataError
from promptrank.prompt.encode import WINDOW, Encoder
from promptrank.ranking.posing import Posed, Prompts
from promptrank.requests.source import RequestFile
from promptrank.runs.prompt_digests import work_digest
from promptrank.runs.request_blocks import Before, RequestBlock, request_blocks

EncoderOf = Callable[[], Encoder]
FileOf = Callable[[], AbstractContextManager[RequestFile]]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a process needs to prepare a run's prompts; all of it can be pickled.

    Attributes:
        encoder_of, file_of: open the task's encoder and the run's request file.
        fingerprint: what the encoder's has to be.
        items: what the file's `items_stamp` has to be.
    """

    encoder_of: EncoderOf
    file_of: FileOf
    fingerprint: str
    items: Any


@dataclass(frozen=True, slots=True)
class BlockShare:
    """Which blocks one process prepares.

    Attributes:
        splits, ids, size: as of `request_blocks`.
        before: as of `request_blocks`, where the first block is.
        place, of: the process prepares every block whose number leaves ``place`` divided by ``of``.
    """

    splits: set[str] | None
    ids: set[str] | None
    size: int
    before: Before
    place: int
    of: int


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One request's prompt; the request itself has gone before, with its block.

    Attributes:
        posed: but for the request.
        digest: of its work; empty where there is none.
    """

    posed: Posed
    digest: str


def prepared(
    preparation: Preparation, wanted: BlockShare
) -> Iterator[RequestBlock | list[PreparedPrompt]]:
    """Each block, and then its prompts in the order of its requests, some at a time.

    Raises:
        InputError: as reading the file and opening the encoder do.
        DataError: template or items are not what they were when the run began.
    """
    encoder = preparation.encoder_of()
    if encoder.fingerprint != preparation.fingerprint:
        raise DataError(
            "the template, the answers or the tokenizer changed while the run began; start it again"
        )
    posing = Prompts(encoder)
    with preparation.file_of() as file:
        if file.items_stamp() != preparation.items:
            raise DataError("the table of items changed while the run began; start it again")
        for block in request_blocks(file, wanted.splits, wanted.ids, wanted.size, wanted.before):
            if block.number % wanted.of == wanted.place:
                assert block.content  # reckoned here, and handed on with the block
                yield block
                yield from _prompts(posing, block)


def _prompts(posing: Prompts, block: RequestBlock) -> Iterator[list[PreparedPrompt]]:
    shared: dict[Any, Any] = {}
    posed = (_without_request(each, shared) for each in posing.pose(block.requests, None))
    while together := list(islice(posed, WINDOW)):
        yield together


def _without_request(posed: Posed, shared: dict[Any, Any]) -> PreparedPrompt:
    """What goes through the pipe: equal answers are one object, which is written once."""
    digest = work_digest(posed.work) if posed.work is not None else ""
    key = repr(posed.answers)
    answers: Mapping[str, Any] = shared.setdefault(key, posed.answers)
    return PreparedPrompt(replace(posed, request=None, answers=answers), digest)  # type: ignore[arg-type]
