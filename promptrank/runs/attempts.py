"""The ledger of attempts at a shard: which request kills the process that ranks it.

Beside a shard that is being ranked lies ``begun/000042``. Its first line says, at any moment, which
requests are in hand; a process that is killed, however it is killed, leaves it as it was. Whoever
begins the shard again then knows whom to suspect:

* the requests that were in hand go first, one by one, each noted before it is ranked. These
  rankings are thrown away, so the shard is ranked in its own batches afterwards and has the bytes
  that it would have had;
* where the process is killed again with one of them in hand, that one goes first at the next
  attempt;
* and where it is killed a third time with the same single request in hand, that is set aside.

A process that is killed from outside has, each time, another request in hand, or none: it would
have to be killed twice within the moment that one request takes, just after its start the second
time. An attempt that ends by itself (an error, Ctrl-C) leaves nobody in hand.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from promptrank.basics.digests import json_digest
from promptrank.basics.files import beside
from promptrank.basics.json_files import checked
from promptrank.basics.seals import sealed, sealed_object
from promptrank.errors import DataError, ErrorRow, ModelError

FOLDER = "begun"
TOGETHER = 2
_MOST = 1 << 20  # requests of a shard, for a line that is damaged
HOPELESS = 3
"""Requests that are accused, and none that has survived: then it is not the requests."""
_IDLE, _ALONE, _FIRST, _LATER = "idle", "alone", "first", "later"
_WIDTH = 1000  # bytes of the first line, which is written over in place


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What earlier attempts at a shard have shown.

    Attributes:
        identity, content: of the shard, as in its facts.
        ids: digest of the ids by whose places the ledger counts; rows that an earlier run gives
            are none of them, so another earlier run makes other ones.
        kills: processes that were killed while they ranked it.
        accused: ids that are set aside.
        suspects: ids that go first, one by one.
        known: whether a process was killed with the first of them alone in hand.
        together: how often in a row one was killed by these requests in a batch, each of which it
            had survived alone before.
        survived: whether any request has been ranked, alone or in a batch.
    """

    identity: str
    content: str
    ids: str = ""
    kills: int = 0
    accused: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    known: bool = False
    together: int = 0
    survived: bool = False

    @property
    def apart(self) -> frozenset[str]:
        """Ids of requests that kill the process as a batch and not alone: they are ranked alone."""
        return frozenset(self.suspects if self.together >= TOGETHER else ())


class Attempt:
    """One attempt at a shard, in which somebody is in hand or nobody.

    Attributes:
        suspicion: what earlier ones have shown.
    """

    def __init__(self, path: Path, suspicion: Suspicion) -> None:
        """Write the ledger; it is on the disk when this returns."""
        self.suspicion = suspicion
        self._path = path
        with beside(path) as part, part.open("wb") as file:
            file.write(_line(_IDLE, ()))
            file.write(json.dumps(sealed(asdict(suspicion))).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._file, self._done = os.open(path, os.O_WRONLY), False

    def alone(self, number: int) -> None:
        """The suspect of this number is in hand, by itself."""
        self._write(_ALONE, (number,))

    def batch(self, places: Sequence[int], first: bool) -> None:
        """These requests are in hand, by their places among those that are asked.

        Args:
            first: whether none has been ranked yet.
        """
        self._write(_FIRST if first else _LATER, places)

    def idle(self) -> None:
        """Nobody is in hand."""
        self._write(_IDLE, ())

    def done(self) -> None:
        """The shard is there: nothing is to be remembered once this is closed."""
        self._done = True

    def close(self) -> None:
        """Close the file; what ends by an error has nobody in hand."""
        with suppress(OSError):
            self.idle()
        os.close(self._file)
        if self._done:
            self._path.unlink(missing_ok=True)

    def _write(self, what: str, places: Sequence[int]) -> None:
        # In the system's hands when this returns, so that no kill undoes it. Not on the disk: a
        # machine that goes down forgets who was in hand.
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, _line(what, places))


@contextmanager
def attempt(
    folder: Path, number: int, identity: str, content: str, ids: Sequence[str]
) -> Iterator[Attempt]:
    """Begin a shard; the ledger goes when `Attempt.done` is called.

    Args:
        ids: of the shard's requests, in their order.

    Raises:
        ModelError: the process has been killed by each of several requests, and survived none.
    """
    path = ledger_path(folder, number)
    suspicion = _suspicion(path, Suspicion(identity, content, json_digest([*ids])), ids)
    if len(suspicion.accused) >= HOPELESS and not suspicion.survived:
        raise ModelError(
            f"{path}: this process was killed {suspicion.kills} times, at every request that it "
            "began; see whether the machine has memory for the model. To try again, remove that "
            "file and give the same command"
        )
    made = Attempt(path, suspicion)
    try:
        yield made
    finally:
        made.close()


def ledger_path(folder: Path, number: int) -> Path:
    """Where the ledger of a shard lies while it is ranked."""
    return folder / FOLDER / f"{number:06}"


def clear_ledgers(folder: Path) -> None:
    """Remove what is left of ledgers once a run is finished."""
    place = folder / FOLDER
    for path in place.glob("*"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()


def killed_row(request_id: str) -> ErrorRow:
    """Why a request that was accused is not ranked."""
    return ErrorRow(
        request_id,
        None,
        "engine",
        "killed_the_process",
        f"request {request_id}: the process was killed each time it was ranked, the last two times "
        "by itself, so it is not ranked again; look at its size and at the machine's memory",
    )


def _suspicion(path: Path, fresh: Suspicion, ids: Sequence[str]) -> Suspicion:
    """What the ledger of an attempt before this one says, if it is of the same shard."""
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
        plain = sealed_object(rest, str(path), then="remove it")
        before = checked(Suspicion, plain, path, what="a ledger of attempts")
        what, *words = first.decode().split()
        places = [place for word in words for place in _places(word)]
    except (OSError, ValueError, DataError):
        return fresh  # none, or damaged: then it is the first attempt
    if any(getattr(before, n) != getattr(fresh, n) for n in ("identity", "content", "ids")):
        return fresh
    if what == _IDLE:
        return before
    kills = before.kills + 1
    survived = what == _LATER or (what == _ALONE and places[:1] != [0])
    before = replace(before, survived=before.survived or survived)
    if what == _ALONE:
        start = places[0] if places else 0
        left = before.suspects[start:]
        if before.known and start == 0:
            accused = (*before.accused, *left[:1])
            return replace(before, kills=kills, accused=accused, suspects=left[1:], known=False)
        return replace(before, kills=kills, suspects=left, known=True)
    asked = [name for name in ids if name not in before.accused]
    suspects = tuple(asked[place] for place in places if place < len(asked))
    again = bool(suspects) and suspects == before.suspects
    together = before.together + 1 if again else 0
    return replace(before, kills=kills, suspects=suspects, known=False, together=together)


def _line(what: str, places: Sequence[int]) -> bytes:
    """``first 8-11 14``, as wide as any."""
    if isinstance(places, range):
        ends = [(places[0], places[-1])] if places else []
    else:
        runs = groupby(enumerate(sorted(places)), lambda pair: pair[1] - pair[0])
        ends = [(together[0][1], together[-1][1]) for _, run in runs if (together := list(run))]
    words = [f"{start}-{end}" if end > start else f"{start}" for start, end in ends]
    line = " ".join((what, *words))
    if len(line) >= _WIDTH:  # more than is to be had there: all from the first to the last
        line = f"{what} {ends[0][0]}-{ends[-1][1]}"
    return line.ljust(_WIDTH - 1).encode() + b"\n"


def _places(word: str) -> range:
    start, _, end = word.partition("-")
    first, last = int(start), int(end or start)
    if not 0 <= first <= last < _MOST:
        raise ValueError(word)
    return range(first, last + 1)
