"""What rankers are measured on: requests are decoded once, whoever asks for them afterwards."""

from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.basics.telling import no_progress, silent
from promptrank.requests.write import write_table
from promptrank.workspace.measuring import measured_on
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import open_task
from support.toys import PEOPLE


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("limit", [None, 5])
def test_every_request_of_the_file_is_decoded_once(
    toys: Path, tmp_path: Path, given: bool, limit: int | None
) -> None:
    opened = open_task("toys/like", project=toys)
    requests = tmp_path / "r.parquet"
    total = sum(promptrank.build("toys/like", requests, project=toys).requests.values())
    with measured_on(opened, requests if given else None, None, limit, silent) as on:
        assert on.file.decoded == total
        assert len(on.sample) == (limit or PEOPLE)
        with open_ranker(opened, engine="fake") as ranker:
            own, reasons = on.scores(ranker, None, silent, no_progress)
            kept, _ = on.scores(ranker, tmp_path / "s.parquet", silent, no_progress)
        assert kept.table.equals(own.table)
        assert kept.origin.requests is not None
        report = on.report("eval", {"decoder": own}, reference="decoder", draws=0, say=silent)
        assert reasons == {}
        assert report.counts.candidates == 5 * len(on.sample)
        assert report.seen is not None
        assert report.provenance["command"] == "eval"
        # Scored twice, ranked by five baselines, labelled and counted; the file was read once.
        assert on.file.decoded == total


def test_rows_of_the_part_that_cannot_be_read_are_counted_by_reason(
    toys: Path, tmp_path: Path
) -> None:
    opened = open_task("toys/like", project=toys)
    labelled = {"member": {"name": "Ann"}, "outcomes": {"like": "like"}}
    rows: list[dict[str, Any]] = [
        {"request_id": "r1", "split": "test", "item_id": "t1", **labelled},
        {"request_id": "r1", "item_id": "nowhere"},
        {"request_id": "r2", "split": "train", "item_id": "nowhere", **labelled},
    ]
    write_table(tmp_path / "r.jsonl", rows)
    with measured_on(opened, tmp_path / "r.jsonl", None, None, silent) as on:
        assert [request.request_id for request in on.sample] == ["r1"]
        assert on.set_aside() == {"item_not_found": 1}
