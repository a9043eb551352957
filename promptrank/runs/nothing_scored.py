"""Runs of which nothing has a score: no request, or none that could be ranked."""

from collections.abc import Sequence
from pathlib import Path

from promptrank.basics.plurals import counted
from promptrank.errors import DataError, ErrorRow
from promptrank.runs.error_texts import without_text
from promptrank.runs.shards import ShardCounts


class NothingScored(DataError):
    """All that was read of a request file is set aside; the error rows of its shards say why."""


def no_request(file: Path, unread: Sequence[ErrorRow] = (), with_text: bool = False) -> DataError:
    """Of a file that has no request to rank.

    Args:
        unread: rows of it that could not be read.
        with_text: whether what the first of them quotes of the data is told.
    """
    words = f"no request to rank in {file.name}"
    if unread:
        first = (unread[0] if with_text else without_text(unread[0])).message
        words += f"; {counted(len(unread), 'row')} could not be read, the first: {first}"
    return DataError(words)


def nothing_scored(file: Path, counts: ShardCounts, errors: Path, then: str) -> NothingScored:
    """Of a file all of whose rows are set aside: how many, and the reason of most error rows.

    Args:
        errors: where the error rows are.
        then: what next.
    """
    every, were = ("all", "were") if counts.rows != 1 else ("the", "was")
    why = ""
    if counts.reasons:  # a purge may have taken all error rows away
        reason, many = max(counts.reasons.items(), key=lambda item: item[1])
        rows = counted(counts.errors, "error row")
        why = f", most often for {reason} ({many:,} of {rows} -> {errors})"
    return NothingScored(
        f"nothing in {file.name} could be ranked: {every} {counted(counts.rows, 'row')} of it "
        f"{were} set aside{why}; {then}"
    )
