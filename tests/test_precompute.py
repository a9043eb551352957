"""Precompute: the coverage curve by hand, the head and nothing else scored, and the tail still."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptrank.errors import DataError
from promptrank.tables.query_log import coverage_of, log_coverage


def test_a_zipf_log_by_hand(tmp_path: Path) -> None:
    """Twenty queries, the n-th asked 2520 / n times where that is whole, else not at all."""
    times = {f"q{n:02}": 2520 // n for n in range(1, 11)}  # 2520 is divisible by 1 to 10
    times |= {f"r{n:02}": 1 for n in range(10)}
    total = 7381 + 10  # 2520 * (1 + 1/2 + ... + 1/10) = 7381
    path = tmp_path / "log.csv"
    path.write_text("query,count\n" + "".join(f"{q},{n}\n" for q, n in times.items()))
    seen = log_coverage(path, 0.8)
    assert (seen.queries, seen.traffic) == (20, total)
    # 1% and 5% of 20 are one query each, 10% two, 20% four, 50% ten.
    assert [head.queries for head in seen.curve] == [1, 1, 2, 4, 10]
    shares = [2520, 2520, 3780, 5250, 7381]
    assert [head.traffic for head in seen.curve] == pytest.approx([n / total for n in shares])
    # 2520 + 1260 + 840 + 630 + 504 = 5754 is .779 of 7391; with 420 more it is .835.
    assert (seen.head.queries, seen.keys) == (6, ("q01", "q02", "q03", "q04", "q05", "q06"))
    assert seen.head.traffic == pytest.approx(6174 / total)
    assert seen.head.later is None  # counts alone do not tell early from late


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_head_is_measured_on_later_traffic(tmp_path: Path, suffix: str) -> None:
    """Early: a a a b. Late: b b b a. A head of one has 3/4 of its own half and 1/4 of the other."""
    asked = list("aaabbbba")
    path = tmp_path / f"log{suffix}"
    if suffix == ".csv":
        path.write_text("text\n" + "\n".join(asked) + "\n")
    elif suffix == ".jsonl":  # in another order, by time
        rows = [f'{{"text": "{q}", "time": {t}}}\n' for t, q in enumerate(asked)]
        path.write_text("".join(reversed(rows)))
    else:
        pq.write_table(pa.table({"text": asked, "time": pa.array(range(8))}), path)
    seen = log_coverage(path, 0.7)
    assert seen.queries == 2
    assert seen.curve[0].later == pytest.approx(1 / 4)
    assert seen.curve[0].traffic == pytest.approx(1 / 2)
    # For 0.7 of all both are needed; of the earlier half alone, one.
    assert (seen.head.queries, seen.head.later) == (2, pytest.approx(1 / 4))
    again = coverage_of(((q, float(t)) for t, q in enumerate(asked)), 0.7)
    assert again == seen


def test_queries_are_keys_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"q": "Red"}\n{"q": "red"}\n{"q": "red "}\n{"q": null}\n{"q": ""}\n')
    assert log_coverage(path, 1.0, query="q").queries == 3
    numbers = tmp_path / "ids.csv"
    numbers.write_text("query_id,count\n007,2\n7,1\n8,0\n9,-1\n")
    assert log_coverage(numbers, 1.0).keys == ("007", "7")


def test_a_log_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("word\nred\n")
    with pytest.raises(DataError, match="no column query_id or query or text; name the query's"):
        log_coverage(path, 0.8)
    with pytest.raises(DataError, match=r"--query: no column 'wrd'.*word"):
        log_coverage(path, 0.8, query="wrd")
    with pytest.raises(DataError, match="holds no query"):
        coverage_of([], 0.8)
    with pytest.raises(DataError, match="there is no such file"):
        log_coverage(tmp_path / "nope.csv", 0.8)
