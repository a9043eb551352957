"""How long the workbench takes from an edit to a new ranking, on MovieLens-100K and SmolLM2-135M.

    python bench/workbench.py [--requests 5] [--threads 2]

For each of some test requests with ten candidates, first the saved version is ranked (as the page
does when it opens), then an edit of the instruction, with the saved version known. Seconds are from
the post of the page to the last thing that it is shown; the pause after the last key (0.45 s, in
``static/edit.js``) comes on top. The last line is for machines: medians and the worst.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from promptrank.api.build import build
from promptrank.ranking.ranker import Ranker
from promptrank.runtime.runtime import Runtime
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.live import LiveRanking
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import OpenTask, open_task

TASK, ADAPTER = "movies/like", "movies"
OLD, NEW = "Movies that one person has rated.", "Films that one person has rated, in their order."


async def seconds(live: LiveRanking, task: DeskTask, fields: dict[str, str]) -> float:
    """From the post to the last thing that is shown, which is the whole ranking."""
    begun = time.perf_counter()
    last = ""
    async for kind, value in live.tried(task, fields):
        last = kind if kind != "failed" else f"failed: {value}"
    assert last == "ranked", last
    return time.perf_counter() - begun


async def measured(live: LiveRanking, task: DeskTask, requests: int) -> list[tuple[float, float]]:
    """Seconds of each request: as the page opens, and after the edit."""
    saved = task.saved()
    assert OLD in saved.template
    taken: list[tuple[float, float]] = []
    choice = live.shelf.choose(task, {"part": "test"})
    for name in choice.listed[:requests]:
        fields = {"part": "test", "request": name, "task_text": saved.task}
        opened = await seconds(live, task, {**fields, "template_text": saved.template})
        # Another text each time: what was opened for the last one is no help.
        edit = saved.template.replace(OLD, f"{NEW} {len(taken)}")
        edited = await seconds(live, task, {**fields, "template_text": edit})
        print(f"{name}: {opened:.2f} s as it opens, {edited:.2f} s after an edit", flush=True)
        taken.append((opened, edited))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Runtime() as runtime:
        path = Path(folder) / "requests.parquet"
        build(TASK, path, splits={"test"}, limit=given.requests)
        opened = open_task(TASK)

        def rank_draft(draft: OpenTask, adapter: str | None) -> Ranker:
            return open_ranker(
                draft, adapter=adapter, allow_changed=True, threads=given.threads, runtime=runtime
            )

        hosted = Hosted([TASK])
        hosted.put([HostedTask(TASK, rank_draft(opened, ADAPTER))])
        task = DeskTask(opened, request_files=(path,))
        live = LiveRanking(Desk(hosted, {TASK: task}, rank_draft, opened.project))
        taken = asyncio.run(measured(live, task, given.requests))
    as_opened, after = zip(*taken, strict=True)
    print(
        f"opened={statistics.median(as_opened):.2f} edited={statistics.median(after):.2f} "
        f"worst={max(after):.2f}"
    )


if __name__ == "__main__":
    main()
