"""Where the parts of a split begin, decided for each row before rows become requests.

A row's part is known before it is grouped, so that no request ever holds rows of two parts. In a
split by time it depends on the row's time and on when its label was known; in a split by file on
what the row's column or file says. Splits by last and by subject divide whole requests: there
every row is of one part here, and `split` does the rest.
"""

from dataclasses import dataclass

from promptrank.basics.sql import Connection, ident, literal
from promptrank.schema.splitting import Split
from promptrank.schema.task import Task
from promptrank.tables.build_plan import Plan
from promptrank.tables.held_out import compared, value_part
from promptrank.tables.names import FILE
from promptrank.tables.usable import last_time

_ORDER = ("train", "before valid", "valid", "before test", "test")


@dataclass(frozen=True, slots=True)
class Boundaries:
    """A split by time as moments.

    A row tests from `test` on. It validates from `valid` on, if its label was known, and `gap` had
    passed, before `test`; and likewise for training. What fits neither is left out.

    Attributes:
        late: how long after its row a label is known, at most.
        included: whether a row at the very moment of a boundary lies behind it.
    """

    test: float
    valid: float | None
    gap: float
    late: float
    included: bool

    def part_of(self, time: str) -> str:
        """SQL: the part of a row; ``before valid`` and ``before test`` are gaps."""
        back = self.gap + self.late
        cases = [(self.test, "test"), (self.test - back, "before test")]
        if self.valid is not None:
            cases += [(self.valid, "valid"), (self.valid - back, "before valid")]
        whens = " ".join(f"WHEN {self._beyond(time, at)} THEN '{part}'" for at, part in cases)
        return f"CASE WHEN {time} IS NULL THEN NULL {whens} ELSE 'train' END"

    def in_time(self, time: str, happened: str) -> str:
        """SQL: whether an outcome belongs to the part of the row that it is about."""
        cases = [f"WHEN {self._beyond(time, self.test)} THEN true"]
        ends = [self.test]
        if self.valid is not None:
            cases.append(
                f"WHEN {self._beyond(time, self.valid)} THEN "
                f"NOT {self._beyond(happened, self.test - self.gap)}"
            )
            ends.append(self.valid)
        end = f"NOT {self._beyond(happened, ends[-1] - self.gap)}"
        return f"CASE {' '.join(cases)} ELSE {end} END"

    def _beyond(self, time: str, at: float) -> str:
        return f"({time} {'>=' if self.included else '>'} {at!r}::DOUBLE)"


def boundaries(con: Connection, plan: Plan) -> Boundaries | None:
    """The boundaries of a split by time, or None.

    Lengths of time (``test: 7d``) are counted back from the last row that can be used.
    """
    split = plan.task.split
    if split is None or split.by != "time":
        return None
    late = label_delay(plan.task)
    if split.at is not None:
        return Boundaries(split.at, split.valid_at, split.gap, late, included=True)
    last = last_time(con, plan)
    test, valid = split.amount("test"), split.amount("valid")
    back = test + split.gap + late + valid
    return Boundaries(last - test, last - back if valid else None, split.gap, late, included=False)


def label_delay(task: Task) -> float:
    """Seconds from a row to the moment its label is known: the window of outcomes.

    Outcomes without a window never are final: those that count are chosen by `Boundaries.in_time`.
    """
    outcomes = task.outcomes
    return outcomes.within or 0.0 if outcomes is not None else 0.0


def row_part(plan: Plan, bounds: Boundaries | None) -> str:
    """SQL over the task's own rows: which part a row belongs to, NULL where nothing says so."""
    split = plan.task.split
    if bounds is not None:
        return bounds.part_of(plan.time)
    if split is not None and split.by == "file":
        return plan.text(split.column) if split.column else ident(FILE)
    if split is not None and (split.field or "").startswith("context."):
        column = (split.field or "").partition(".")[2]
        if column not in plan.rows:
            return "NULL"
        return value_part(split, compared(ident(column), plan.rows[column]))
    return "CAST(NULL AS VARCHAR)"


def stage_of(split: Split | None) -> str:
    """SQL over ``part``: its place in time, 0 first; what stands later may not change what is
    earlier. Rows that are left out come last."""
    if split is None or split.by not in ("time", "file", "field"):
        return "0"
    if split.by == "time":
        whens = " ".join(f"WHEN '{part}' THEN {i}" for i, part in enumerate(_ORDER))
        return f"CASE part {whens} END"
    test, valid = literal(str(split.test)), literal(str(split.valid))
    if split.by == "field":
        test, valid = "'test'", "'valid'"
    return (
        f"CASE WHEN part = {test} THEN 2 WHEN part = {valid} THEN 1 "
        "WHEN part IS NULL THEN 3 ELSE 0 END"
    )
