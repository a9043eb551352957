"""What a request of a look-up carries itself: it goes before what the tables hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from promptrank.records import EMPTY, Fields
from promptrank.requests.decode import decode
from promptrank.requests.items import ItemTable


@dataclass(frozen=True, slots=True)
class Carried:
    """Fields that requests carry, by their places among the requests of one look-up.

    Attributes:
        by_role: role -> fields of each request's subject, in order; None where it carries none.
        by_candidate: (request_id, candidate_id) -> fields of the candidate's item.
    """

    by_role: Mapping[str, Sequence[Fields | None]] = field(default_factory=dict)
    by_candidate: Mapping[tuple[str, str], Fields] = field(default_factory=dict)

    def subjects(self, stored: Mapping[str, pa.Array | None]) -> dict[str, Sequence[Fields | None]]:
        """The fields of each request's subjects; a role that the task does not have is not there.

        Args:
            stored: role -> a struct for each request, of the tables.
        """
        return {
            role: [over(mine, fields) for mine, fields in self._beside(role, decode(array))]
            for role, array in stored.items()
            if array is not None
        }

    def _beside(
        self, role: str, stored: list[Fields | None]
    ) -> list[tuple[Fields | None, Fields | None]]:
        return list(zip(self.by_role.get(role) or [None] * len(stored), stored, strict=True))

    def items(self, items: ItemTable, columns: Mapping[str, Any]) -> Callable[[int], Fields]:
        """What tells the fields of the item in a candidate's place.

        Args:
            columns: of the candidates; ``item_row`` is null where the table lacks the item.
        """
        rows = columns["item_row"].to_pylist()
        names: list[tuple[str, str]] = []
        if self.by_candidate:
            requests, candidates = (columns[n].to_pylist() for n in ("request_id", "candidate_id"))
            names = list(zip(requests, candidates, strict=True))

        def fields_of(place: int) -> Fields:
            row = rows[place]
            stored = items.row(row).fields if row is not None else None
            mine = self.by_candidate.get(names[place]) if names else None
            return over(mine, stored) or EMPTY

        return fields_of


NOTHING = Carried()


def over(mine: Fields | None, stored: Fields | None) -> Fields | None:
    """The stored fields with the request's own over them, field by field."""
    if mine is None or stored is None:
        return stored if mine is None else mine
    return {**stored, **mine}
