"""How much faster two local Ray workers rank than one, each with one thread.

    python bench/ray_workers.py --quick

A run over toys by a random model, engine ``packed``, first on one worker and then on two. Last
line: ``ray2=... end_to_end=...``: one worker's seconds over two workers' seconds, of ranking alone
and of the whole command with the start of Ray and of the engines. Two cores that do nothing else
are needed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from promptrank.api.rank_run import rank_run  # noqa: E402
from support.models import make_model  # noqa: E402
from support.toys import make_project  # noqa: E402

CANDIDATES = 20
SHARD = 25
LARGER = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6}


def ray2(quick: bool) -> float:
    """Ranking on two workers, as a multiple of ranking on one."""
    return speedups(quick)[0]


def speedups(quick: bool) -> tuple[float, float]:
    """Of ranking alone, and of everything from start to end."""
    with TemporaryDirectory(prefix="ray-workers-") as folder:
        root = Path(folder)
        model = make_model(root / "model", **LARGER)  # type: ignore[arg-type]
        project = make_project(root / "project", model)
        requests = root / "requests.jsonl"
        _write_requests(requests, 200 if quick else 2000)
        one, two = (_seconds(project, requests, root / str(n), n) for n in (1, 2))
    return one[0] / two[0], one[1] / two[1]


def _seconds(project: Path, requests: Path, folder: Path, workers: int) -> tuple[float, float]:
    began = time.perf_counter()
    done = rank_run(
        "toys/like",
        folder,
        requests=requests,
        project=project,
        engine="packed",
        threads=1,
        size=SHARD,
        on="ray",
        workers=workers,
    )
    whole = time.perf_counter() - began
    ranking = done.throughput.seconds
    rate = done.counted.candidates / ranking
    print(f"{workers} workers: {ranking:.1f} s of ranking, {whole:.1f} s, {rate:,.0f} candidates/s")
    return ranking, whole


def _write_requests(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            for place in range(CANDIDATES):
                row = {
                    "request_id": f"r{number}",
                    "member_id": f"m{number}",
                    "member": {"name": f"Person {number}"},
                    "item_id": f"t{place}",
                    "item": {"title": f"Toy {number} {place}", "color": "red"},
                }
                file.write(json.dumps(row) + "\n")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    ranking, whole = speedups(parser.parse_args().quick)
    print(f"ray2={ranking:.2f} end_to_end={whole:.2f}")


if __name__ == "__main__":
    main()
