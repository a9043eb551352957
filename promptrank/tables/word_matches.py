"""BM25 as a number of the candidate: the query's words against a candidate's text.

Words are counted over the task's item table, whose rows hold always: a statistic ``bm25`` refuses
a table with ``valid_from``, where one would have to say which texts were known when. The number
depends on the query, the candidate's own text and that table, and on no other candidate.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from promptrank.basics.bm25_formula import WordMatch, statistics_of
from promptrank.errors import DataError
from promptrank.records import Fields
from promptrank.requests.items import ItemTable
from promptrank.requests.texts import text_of
from promptrank.tables.build_plan import Plan


class WordMatches:
    """Makes the numbers of the statistics that are ``bm25``, some thousand requests at a time."""

    def __init__(self, plan: Plan, items: ItemTable) -> None:
        """Count the words of the item table.

        Raises:
            DataError: the fields that a statistic names hold no word in any item.
        """
        self._plan = plan
        self._matches: dict[str, WordMatch] = {}
        for name, fields in plan.matched.items():
            statistics = statistics_of(text_of(item, fields) for item in items.known(names=fields))
            if not statistics.length:
                raise DataError(
                    f"statistics.{name}.bm25: {', '.join(fields)}: no item has a word in them; "
                    "name fields of the item table that hold text"
                )
            self._matches[name] = WordMatch(statistics)

    def beside(
        self,
        stats: pa.Array | None,
        subjects: Mapping[str, Sequence[Fields | None]],
        of: "np.ndarray[tuple[int], np.dtype[np.int64]]",
        fields_of: Callable[[int], Fields],
    ) -> pa.Array:
        """Candidates' statistics with those of words among them, in the order of the task.

        Args:
            stats: the other statistics, a struct for each candidate; None where there are none.
            subjects: role -> the fields of each request's.
            of: for each candidate, sorted, the place of its request.
            fields_of: the fields of the item in a candidate's place.
        """
        columns: dict[str, pa.Array] = {}
        if stats is not None:
            columns |= zip(stats.type.names, stats.flatten(), strict=True)
        ends = np.searchsorted(of, np.arange(len(of) and of[-1] + 1), side="right").tolist()
        for name, match in self._matches.items():
            fields = self._plan.matched[name]
            values: list[float | None] = []
            for wanted, end in zip(self._wanted(subjects, fields), ends, strict=False):
                texts = [text_of(fields_of(i), fields) for i in range(len(values), end)]
                none = [None] * len(texts)
                values += none if wanted is None else match.scores([wanted], texts)
            columns[name] = pa.array(values, pa.float64())
        ordered = {name: columns[name] for name in self._plan.task.statistics if name in columns}
        return pa.StructArray.from_arrays(list(ordered.values()), names=list(ordered))

    def _wanted(
        self, subjects: Mapping[str, Sequence[Fields | None]], fields: Sequence[str]
    ) -> list[str | None]:
        """What each request looks for: its query's text, else its source item's."""
        if "query" in subjects:
            texts = [(each or {}).get("text") for each in subjects["query"]]
            return [text if isinstance(text, str) else None for text in texts]
        sources = subjects["source"]
        return [text_of(each, fields) if each is not None else None for each in sources]
