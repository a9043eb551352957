"""What a task asks of its data, gathered once: columns, entities, statistics, moments."""

from dataclasses import dataclass, field

from promptrank.basics.sql import ident, seconds_of, text_of
from promptrank.schema.data_tables import Judgements, Negatives, Ratings
from promptrank.schema.parts import Question, Statistic
from promptrank.schema.strict import Ref
from promptrank.schema.task import Task
from promptrank.tables.entities import Entity

ROLES = ("member", "query", "source")


@dataclass(frozen=True, slots=True)
class Plan:
    """A task beside the columns that its data turned out to have.

    Attributes:
        kinds: place in the task file -> column -> DuckDB type.
        entities: table name -> its snapshot; filled while building.
        place: schema that requests are made from: ``pr``, or ``temp`` for a look-up, where views
            show what its requests need of ``pr``.
    """

    task: Task
    kinds: dict[str, dict[str, str]]
    entities: dict[str, Entity] = field(default_factory=dict)
    place: str = "pr"

    @property
    def rows(self) -> dict[str, str]:
        """Columns of the rows that are ranked from."""
        return self.kinds[self.task.form]

    def ref(self, role: str) -> Ref | None:
        """The reference of ``item``, ``member``, ``query`` or ``source``, if the task has it."""
        for where, ref in self.task.refs().items():
            if not where.startswith("history") and where.rpartition(".")[2] == role:
                return ref
        return None

    def event_ref(self, role: str) -> Ref:
        """The reference of ``item`` or ``member`` in history.events."""
        return self.task.refs()[f"history.events.{role}"]

    def table_of(self, role: str) -> str | None:
        """The table that a role's ids point into."""
        ref = self.ref(role)
        return ref.table if ref is not None else None

    def id_of(self, role: str) -> str:
        """SQL: a role's id as text, NULL where the task has no such role."""
        ref = self.ref(role)
        return self.text(ref.column) if ref is not None else "CAST(NULL AS VARCHAR)"

    def text(self, column: str | None) -> str:
        """SQL: a column of the rows as text."""
        if column is None:
            return "CAST(NULL AS VARCHAR)"
        return text_of(ident(column), self.rows[column])

    @property
    def time(self) -> str:
        """SQL: the time of a row in seconds (or its order number), NULL without a clock."""
        clock = self.task.clock
        if clock is None:
            return "CAST(NULL AS DOUBLE)"
        name = "order" if self.task.ordered_only else "time"
        return seconds_of(ident(clock), self.rows[clock], f"{self.task.form}.{name}")

    @property
    def lag(self) -> float:
        """How long before the request a thing must have been known."""
        return self.task.history.lag if self.task.history is not None else 0.0

    @property
    def turns(self) -> bool:
        """Whether history is shown as turns: the subject is then as of the first of them."""
        return self.task.history is not None and self.task.history.as_ == "turns"

    @property
    def goes_by_words(self) -> bool:
        """Whether the words of subjects decide anything: a number, or which events are shown."""
        similar = self.task.history is not None and self.task.history.build == "similar"
        return similar or bool(self.matched)

    @property
    def context(self) -> list[str]:
        """Columns that go with a candidate."""
        source = self.task.requests
        return source.candidate.context if source is not None else self._plain().context

    @property
    def weight(self) -> str | None:
        """Column with a row's weight."""
        source = self.task.requests
        return source.candidate.weight if source is not None else self._plain().weight

    def _plain(self) -> Ratings | Judgements:
        source = self.task.ratings or self.task.judgements
        assert source is not None, "the third form is asked for first"
        return source

    @property
    def negatives(self) -> Negatives | None:
        """The sampling of items that nobody acted on."""
        return self.task.source.negatives

    @property
    def questions(self) -> dict[str, Question]:
        """The task's questions."""
        return self.task.questions

    @property
    def first(self) -> tuple[str, Question]:
        """The question whose values the baselines are means of."""
        return next(iter(self.task.questions.items()))

    def statistics(self, of: str) -> dict[str, Statistic]:
        """The statistics of the log that stand with items, or with members."""
        return {n: s for n, s in self.summed.items() if s.about == of}

    @property
    def summed(self) -> dict[str, Statistic]:
        """The statistics that are made of rows of the log."""
        return {n: s for n, s in self.task.statistics.items() if s.bm25 is None}

    @property
    def matched(self) -> dict[str, list[str]]:
        """The statistics that are BM25: name -> fields of the item table."""
        return {n: s.bm25 for n, s in self.task.statistics.items() if s.bm25 is not None}

    @property
    def timed(self) -> bool:
        """Whether rows have a time at all; without it nothing is as-of and there is no history."""
        return self.task.clock is not None

    def at(self, time: str) -> str:
        """SQL: the moment before which a thing must have been known to be used at ``time``."""
        return f"({time} - {self.lag!r})" if self.lag else time
