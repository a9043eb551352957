"""Which requests of a file become examples, and what of each; two passes over the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.source import RequestFile
from promptrank.schema.task import Task
from promptrank.training.label_shares import HeldOut, Share, entry_of, select
from promptrank.training.survey import Survey


@dataclass(frozen=True, slots=True)
class Choice:
    """The requests of one part that are used.

    Attributes:
        shares: request id -> its share, in the order of the sample.
        requests: in the part, whether or not they have a label.
        held: labels that no history of theirs may show.
        unread: rows that could not be read.
    """

    part: str
    shares: Mapping[str, Share]
    requests: int
    held: HeldOut
    unread: list[ErrorRow] = field(default_factory=list)

    @property
    def labels(self) -> int:
        """Labels of all that are used."""
        return sum(share.labels for share in self.shares.values())

    def read(self, file: RequestFile) -> Iterator[Request]:
        """The requests as they are used, in the order of the file, lazily."""
        splits = {self.part} if file.task.split is not None else None
        for request in file.read(splits, set(self.shares)):
            yield self.held.without(request)


def choose(
    task: Task, file: RequestFile, *, turns: bool, limit: int | None, seed: int, part: str = "train"
) -> Choice:
    """Look through the whole file and choose.

    Args:
        turns: whether events of histories train too.
        limit, seed: as in `select`.
        part: of the split. What is held out is held out of ``train`` alone: the others are as they
            are ranked.
    """
    held, survey, unread = HeldOut(), Survey(), list[ErrorRow]()
    for request in file.read(errors=unread.append):
        if part == "train" and request.split in ("test", "valid"):
            held.add(request)
        elif task.split is None or request.split == part:
            survey.add(entry_of(request, task, turns))
    return Choice(part, select(survey.subjects(), limit, seed), len(survey), held, unread)
