"""What makes the small decoder rank well: adapters trained alike but for one thing, compared.

    python bench/ablation.py [--labels 2000] [--members 100] [--out FOLDER] [--only NAME ...]

movies/like on MovieLens-100K. Every adapter trains on about as many labels, takes the last step's
weights (nothing is chosen), and ranks the same members' requests of the part ``valid``: the part
``test`` is not touched. Differences are to ``all``, paired, with 95% intervals by member. The last
rows ask in a template that no training used: what augmentation buys. With --out, what is done
stays, and a second call goes on from there.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promptrank import evaluate, rank, train
from promptrank.cli.terminal import show
from promptrank.training.settings import Settings
from promptrank.workspace.tasks import open_task

TASK = "movies/like"
HERE = Path(__file__).parent
OTHER = "ablation/reworded_b.j2"
REFERENCE = "all"


@dataclass(frozen=True)
class Variant:
    """One adapter.

    Attributes:
        task: overrides of the task, for training and ranking.
    """

    task: tuple[str, ...]
    training: Settings


# Some 110 steps of some 18 labels for everyone.
BASE = Settings(batch=1, micro=1, valid=0, every=10_000)
LISTS = replace(BASE, batch=2, micro=2)  # whose requests have half the labels
VARIANTS = {
    REFERENCE: Variant((), BASE),
    "titles alone": Variant(("template=ablation/titles.j2",), BASE),
    "percentiles": Variant(
        (
            "template=ablation/percentile.j2",
            "statistics.liked.percentile=true",
            "statistics.likes.percentile=true",
        ),
        BASE,
    ),
    "history as a list": Variant(("template=ablation/list.j2", "history.as=list"), LISTS),
    "with a listwise loss": Variant((), replace(BASE, losses={"answers": 1.0, "listwise": 0.5})),
    "no member's share": Variant(("template=ablation/viewers.j2",), BASE),
    "history of 30": Variant(("history.last=30", "budget.tokens=1536"), BASE),
    "no loss on the prompt": Variant((), replace(BASE, prompt_weight=0.0)),
    "a sampled loss on the prompt": Variant((), replace(BASE, prompt_rows=128)),
    "augmented": Variant(
        (), replace(BASE, rewordings=0.25, templates={"ablation/reworded_a.j2": 0.25})
    ),
    "no history": Variant(("history.last=0",), replace(LISTS, shape="packed")),
    "candidates alone train": Variant((), replace(LISTS, shape="packed")),
}
ELSEWHERE = (REFERENCE, "augmented")


def made(name: str, project: Path, labels: int, threads: int | None) -> str:
    """The variant's adapter, trained unless it is there."""
    adapter = name.replace(" ", "-").replace("'", "")
    if not (project / "adapters" / adapter).is_dir():
        variant = VARIANTS[name]
        start = time.perf_counter()
        done = train(
            [TASK],
            adapter,
            project=project,
            settings=variant.task,
            training=replace(variant.training, limit=labels),
            overwrite=True,
            threads=threads,
        )
        spent = time.perf_counter() - start
        print(
            f"{name}: {done.labels[TASK]:,} labels, {done.steps} steps, {spent:.0f} s", flush=True
        )
    return adapter


def ranked(
    name: str, project: Path, members: int, adapter: str | None, task: Sequence[str], threads: int
) -> Path:
    """The scores of members' validation requests, asked for unless they are there."""
    path = project / f"{name.replace(' ', '-')}.parquet"
    if not path.is_file():
        rank(
            TASK,
            path,
            splits={"valid"},
            limit=members,
            adapter=adapter,
            project=project,
            settings=list(task),
            threads=threads,
            allow_changed=True,
        )
    return path


def _same_settings(path: Path, given: dict[str, Any]) -> None:
    """Refuse a folder whose adapters and scores were made otherwise."""
    own = {name: given[name] for name in ("labels", "members")}
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8"))) != own:
        raise SystemExit(f"{path.parent} was made with {known}; take another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own), encoding="utf-8")


def main() -> None:
    """Train, rank, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="keeps adapters and scores")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS))
    args = parser.parse_args()
    with TemporaryDirectory(prefix="promptrank-") as folder:
        project = args.out or Path(folder)
        # The task of a project of its own, so that other templates are found beside the task's.
        _same_settings(project / "ablation.json", vars(args))
        for source in (HERE.parent / "tasks", HERE.parent / "templates", HERE / "templates"):
            shutil.copytree(source, project / source.name, dirs_exist_ok=True)
        scores: dict[str, Path] = {}
        for name in [REFERENCE, *(n for n in VARIANTS if n in (args.only or VARIANTS))]:
            adapter = made(name, project, args.labels, args.threads)
            ways = {name: VARIANTS[name].task}
            if name in ELSEWHERE and (args.only is None or "augmented" in args.only):
                ways[f"{name}, asked otherwise"] = (f"template={OTHER}",)
            for way, task in ways.items():
                scores[way] = ranked(way, project, args.members, adapter, task, args.threads)
        scores["untuned"] = ranked("untuned", project, args.members, None, (), args.threads)
        report = evaluate(
            open_task(TASK, project=project),
            scores=scores.pop(REFERENCE),
            split="valid",
            limit=args.members,
            vs=[f"scores:{path}" for path in scores.values()],
        )
        names = {f"scores:{path}": name for name, path in scores.items()}
        rankers = [replace(row, name=names.get(row.name, row.name)) for row in report.rankers]
        show(replace(report, rankers=tuple(rankers)), full=True)


if __name__ == "__main__":
    main()
