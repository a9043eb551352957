"""How the scores and orders of one run differ from those of another.

DuckDB lays them side by side and spills to disk: neither run is ever whole in memory.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from promptrank.basics.door import lock, workspace
from promptrank.basics.scratch import scratch
from promptrank.basics.sql import Connection, explain
from promptrank.errors import DataError
from promptrank.runs.difference_sql import BY_REQUEST, COMMON, OVERLAP, PAIRS, SUMS
from promptrank.runs.scores_sides import ScoresSide, mass_column

_WORST = 20  # requests that are named


@dataclass(frozen=True, slots=True)
class PartDifferences:
    """As `RunDifferences`, of the requests of one part of the task (``split``)."""

    requests: int
    candidates: int
    mean_difference: float
    max_difference: float
    beyond_tolerance: float
    changed_top: int
    changed_order: int


@dataclass(frozen=True, slots=True)
class WorstRequest:
    """A request that differs, and by how much; no difference where no candidate is in both."""

    request_id: str
    max_difference: float | None
    changed_top: bool
    changed_order: bool
    gone: int
    new: int


@dataclass(frozen=True, slots=True)
class RunDifferences:
    """What differs; scores that both have count, unless it is said otherwise.

    Attributes:
        tolerance: scores that are closer than this are the same.
        requests, candidates: that both have scores of.
        mean, median, p99, largest: of |difference of two scores|; percentiles are the least
            difference that so large a share of the candidates does not exceed.
        beyond: share of the candidates whose scores are not the same.
        top: requests that have another candidate in the first place; two whose scores were the
            same within the tolerance may change places.
        order: requests with another order of the candidates that both have, in the same sense, or
            where a policy step takes out others of them.
        rank_correlation: Spearman's, of the places of these; mean over requests of two and more.
        overlap: share of the first `OVERLAP` that are there still, mean over requests of more
            candidates than that; None where there is none.
        gone: candidates that had a score and have none now, those of whole requests too.
        new: candidates that had none.
        gone_requests, new_requests: of which the other has no score.
        label_mass: by question, its mean over all scored candidates, then and now; None where
            there is no such question.
        parts: by part.
        worst: requests that differ, by their largest difference.
    """

    tolerance: float
    requests: int
    candidates: int
    mean: float
    median: float
    p99: float
    largest: float
    beyond: float
    top: int
    order: int
    rank_correlation: float | None
    overlap: float | None
    gone: int
    new: int
    gone_requests: int
    new_requests: int
    label_mass: Mapping[str, tuple[float | None, float | None]]
    parts: Mapping[str, PartDifferences]
    worst: tuple[WorstRequest, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return self.largest <= self.tolerance and not (
            self.top or self.order or self.gone or self.new
        )

    @property
    def examples(self) -> list[str]:
        """Ids of the worst requests."""
        return [each.request_id for each in self.worst]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "requests": self.requests,
            "candidates": self.candidates,
            "max_difference": self.largest,
            "mean_difference": self.mean,
            "median_difference": self.median,
            "p99_difference": self.p99,
            "beyond_tolerance": self.beyond,
            "changed_top": self.top,
            "changed_order": self.order,
            "rank_correlation": self.rank_correlation,
            f"overlap@{OVERLAP}": self.overlap,
            "gone": self.gone,
            "new": self.new,
            "gone_requests": self.gone_requests,
            "new_requests": self.new_requests,
            "label_mass": {
                name: {"then": then, "now": now} for name, (then, now) in self.label_mass.items()
            },
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "tolerance": self.tolerance,
            "same": self.same,
            "worst": [asdict(each) for each in self.worst],
        }


def run_differences(then: ScoresSide, now: ScoresSide, tolerance: float) -> RunDifferences:
    """Compare the scores of the same requests.

    Raises:
        DataError: a candidate that comes twice, numbers that are none, files that cannot be read,
            or nothing that both have.
    """
    with scratch() as folder, workspace(folder, search=folder) as con:
        # In notebooks DuckDB would draw one for each statement.
        con.execute("SET enable_progress_bar = false")
        lock(con, (str(path) for side in (then, now) for path in side.paths))
        for name, side in (("earlier", then), ("later", now)):
            try:
                con.execute(f"CREATE TABLE {name} AS {side.select}")
            except duckdb.Error as error:
                raise DataError(f"{side.place}: cannot be read: {explain(error)}") from None
            _check(con, name, side.place)
        try:
            con.execute(PAIRS)
            con.execute(COMMON)
            con.execute(BY_REQUEST.replace("$tolerance", repr(float(tolerance))))
            return _differences(con, then, now, tolerance)
        except duckdb.Error as error:
            raise DataError(f"cannot be compared: {explain(error)}") from None


def _check(con: Connection, table: str, place: Path) -> None:
    odd = _row(con, f"SELECT count(*) FROM {table} WHERE NOT isfinite(score)")[0]
    if odd:
        raise DataError(f"{place}: {odd} scores are NaN or infinite; leave them empty instead")
    for name in ("request_id", "candidate_id"):
        if none := _row(con, f"SELECT count(*) FROM {table} WHERE {name} IS NULL")[0]:
            raise DataError(f"{place}: {none} rows have no {name}")
    twice = con.execute(
        f"SELECT request_id, candidate_id FROM {table} GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
    ).fetchone()
    if twice is not None:
        raise DataError(
            f"{place}: request {twice[0]}, candidate {twice[1]} comes twice; give each candidate "
            "of a request one row"
        )


def _differences(
    con: Connection, then: ScoresSide, now: ScoresSide, tolerance: float
) -> RunDifferences:
    requests, candidates, total, largest, beyond, top, order = _row(
        con, f"SELECT {SUMS} FROM by_request"
    )
    if not candidates:
        raise DataError(f"{then.place} and {now.place} have no candidate in common")
    correlation, overlap, gone, new, gone_requests, new_requests = _row(
        con,
        'SELECT avg(correlation), avg(overlap), sum(had - "both")::BIGINT, '
        'sum(have - "both")::BIGINT, count(*) FILTER (have = 0), count(*) FILTER (had = 0) '
        "FROM by_request",
    )
    parts = {
        str(part): PartDifferences(r, c, t / c if c else 0.0, most, b / c if c else 0.0, tops, o)
        for part, r, c, t, most, b, tops, o in con.execute(
            f"SELECT part, {SUMS} FROM by_request WHERE part IS NOT NULL GROUP BY part ORDER BY 1"
        ).fetchall()
    }
    worst = con.execute(
        'SELECT request_id, largest, top, "order", had - "both", have - "both" FROM by_request '
        f'WHERE beyond > 0 OR top OR "order" OR had > "both" OR have > "both" '
        f"ORDER BY largest DESC NULLS LAST, request_id LIMIT {_WORST}"
    ).fetchall()
    return RunDifferences(
        tolerance=tolerance,
        requests=requests,
        candidates=candidates,
        mean=total / candidates,
        median=_percentile(con, 0.5, candidates),
        p99=_percentile(con, 0.99, candidates),
        largest=largest,
        beyond=beyond / candidates,
        top=top,
        order=order,
        rank_correlation=correlation,
        overlap=overlap,
        gone=gone,
        new=new,
        gone_requests=gone_requests,
        new_requests=new_requests,
        label_mass={
            name: (_mass(con, "earlier", then, name), _mass(con, "later", now, name))
            for name in dict.fromkeys((*then.questions, *now.questions))
        },
        parts=parts,
        worst=tuple(WorstRequest(*row) for row in worst),
    )


def _percentile(con: Connection, share: float, count: int) -> float:
    """By sorting, which spills to disk; DuckDB's quantiles hold all values in memory."""
    before = max(0, math.ceil(share * count) - 1)
    return float(
        _row(
            con,
            "SELECT apart FROM pairs WHERE apart IS NOT NULL ORDER BY apart "
            f"LIMIT 1 OFFSET {before}",
        )[0]
    )


def _mass(con: Connection, table: str, side: ScoresSide, question: str) -> float | None:
    if question not in side.questions:
        return None
    mean = _row(con, f"SELECT avg({mass_column(question)}) FROM {table}")[0]
    return None if mean is None else float(mean)


def _row(con: Connection, query: str) -> tuple[Any, ...]:
    row = con.execute(query).fetchone()
    assert row is not None
    return row
