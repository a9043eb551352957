"""Marks: how far a request file has been read, so that another reader goes on from there.

A reader's state is small but for the ids that it has seen, which tell requests that stand in
several places: a hash of each, in the order of the file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptrank.requests.format import PartPlace
from promptrank.requests.lost import Lost

IdHashes = NDArray[np.uint64]
"""A hash of each id; the lowest bit says whether its request is of the parts that are read."""
NO_IDS: IdHashes = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class FileMark:
    """A place in a request file, between two requests that were read.

    Attributes:
        part: where the rows begin that must be decoded again.
        skipped: rows of that part, among those with an id, which came earlier.
        lost: lines lost before that part, of which its first row may need to know.
        seen: ids that stand before it.
        drawn: requests that were read since.
    """

    part: PartPlace = field(default_factory=PartPlace)
    skipped: int = 0
    lost: Lost = None
    seen: int = 0
    drawn: int = 0


@dataclass(slots=True)
class Marker:
    """Follows a reader of a request file.

    Attributes:
        mark: where it is.
        ids: of the requests that it came to, since they were last taken away.
    """

    mark: FileMark = FileMark()
    ids: list[int] = field(default_factory=list)

    def taken(self) -> IdHashes:
        """The ids, which are forgotten here."""
        ids, self.ids = np.array(self.ids, np.uint64), []
        return ids


def id_hash(name: str) -> int:
    """63 bits that are the same in every process, with room for one more below."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") & ~1


def seen_before(hashes: Sequence[IdHashes], mark: FileMark) -> Mapping[int, bool]:
    """What a reader knows of ids where a mark stands: hash -> whether the request is read.

    Args:
        hashes: of the ids from the beginning of the file, at least up to the mark.
    """
    whole = np.concatenate([NO_IDS, *hashes])[: mark.seen]
    one = np.uint64(1)
    return dict(zip((whole & ~one).tolist(), (whole & one).astype(bool).tolist(), strict=True))
