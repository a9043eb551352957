"""``parity``: the same requests through every engine, against one prompt at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptrank.api.manifest import manifest, write_json
from promptrank.api.outputs import check_output
from promptrank.api.rank import Progress, no_progress
from promptrank.api.ranker import Ranker, open_ranker
from promptrank.api.requests import read, request_file
from promptrank.api.tasks import OpenTask, Say, check_splits, open_task, silent
from promptrank.errors import DataError, InputError
from promptrank.ranking.loop import Scored
from promptrank.records import Request

if TYPE_CHECKING:
    from promptrank.evaluation.agreement import Agreement

REFERENCE = "plain"
TOLERANCES = {"packed": 1e-4, "vllm": 2e-3, "merged": 1e-3}
"""Of log-odds in float32, in nats: a packing of our own, other kernels, other weights."""


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One engine against one prompt at a time; ``notes`` are the engine's own."""

    engine: str
    agreement: "Agreement"
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """What `parity` found.

    Attributes:
        rows: one per engine that ran.
        left_out: engine -> why it did not run.
    """

    task: str
    adapter: str | None
    requests: int
    rows: tuple[ParityRow, ...]
    left_out: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every engine that ran agrees with the reference."""
        return all(row.agreement.passed for row in self.rows)


def parity(
    task: str | OpenTask,
    *,
    adapter: str | Path | None = None,
    engines: Sequence[str] | None = None,
    requests: str | Path | None = None,
    split: str | None = None,
    limit: int = 8,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Parity:
    """Score some requests one prompt at a time and through each engine, and compare.

    Args:
        adapter: an adapter for all of them; ``merged`` then scores base + adapter as one model.
        engines: of ``packed``, ``vllm`` and ``merged``; all that can run where left out.
        limit: so many requests, sampled by a hash of their ids.
        out: where to write the result as JSON.

    Raises:
        InputError: an engine that is not known, or cannot run although it was asked for.
    """
    from promptrank.evaluation.agreement import agreement

    if out is not None:
        check_output(out, (".json",), [requests])
    chosen, left_out = _choose(engines, adapter)
    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    given = _requests(opened, requests, split, limit, say)
    total = len(given) * (len(chosen) + 1)
    found: dict[str, tuple[dict[str, dict[str, Scored]], tuple[str, ...]]] = {}
    facts: dict[str, Any] = {}
    for name in (REFERENCE, *chosen):
        say(f"scoring with {name}")
        with _ranker(opened, name, adapter, model, threads, say) as ranker:
            scores: dict[str, dict[str, Scored]] = {}
            for ranking in ranker.rank_many(given):
                scores[ranking.request_id] = {s.candidate_id: s for s in ranking.scored}
                progress(len(found) * len(given) + len(scores), total)
            found[name] = scores, ranker.info.notes
            facts[name] = asdict(ranker.info)
    rows = tuple(
        ParityRow(
            name, agreement(found[REFERENCE][0], found[name][0], TOLERANCES[name]), found[name][1]
        )
        for name in chosen
    )
    result = Parity(
        opened.name, str(adapter) if adapter is not None else None, len(given), rows, left_out
    )
    if out is not None:
        about = manifest("parity", opened.task, opened.name, engines=facts)
        write_json(Path(out), {**asdict(result), "passed": result.passed, "provenance": about})
    return result


def _choose(
    engines: Sequence[str] | None, adapter: str | Path | None
) -> tuple[list[str], dict[str, str]]:
    """The engines to run, and why others do not."""
    if unknown := sorted(set(engines or ()) - set(TOLERANCES)):
        raise InputError(f"no engine {unknown[0]!r} to compare; engines: {', '.join(TOLERANCES)}")
    reasons = {}
    if find_spec("vllm") is None:
        reasons["vllm"] = "vLLM is not installed"
    if adapter is None:
        reasons["merged"] = "there is no adapter to merge; name one with --adapter"
    for name in engines or ():
        if name in reasons:
            raise InputError(f"engine {name} cannot run: {reasons[name]}")
    chosen = [name for name in TOLERANCES if name in (engines or TOLERANCES)]
    return [n for n in chosen if n not in reasons], {
        n: r for n, r in reasons.items() if not engines
    }


def _requests(
    opened: OpenTask, requests: str | Path | None, split: str | None, limit: int, say: Say
) -> list[Request]:
    from promptrank.requests.sampling import request_ids

    splits = {split} if split is not None else None
    check_splits(opened.task, splits)
    if splits is None and requests is None and opened.task.split is not None:
        splits = {"test"}
    with request_file(opened, requests, splits=splits, say=say) as file:
        only = set(request_ids(file.path, splits, limit))
        found = list(read(opened, file.path, splits, {}, only))
    if not found:
        raise DataError(f"{opened.name}: there is no request to score")
    return found


@contextmanager
def _ranker(
    opened: OpenTask,
    name: str,
    adapter: str | Path | None,
    model: str | None,
    threads: int | None,
    say: Say,
) -> Iterator[Ranker]:
    options: dict[str, Any] = {"threads": threads, "say": say, "allow_changed": True}
    if name != "merged":
        with open_ranker(opened, engine=name, model=model, adapter=adapter, **options) as ranker:
            yield ranker
        return
    from promptrank.api.adapters import merge

    with TemporaryDirectory(prefix="promptrank-") as folder:
        merged = Path(folder) / "merged"
        base = model or opened.task.model
        merge(str(adapter), merged, model=base, project=opened.project, say=say)
        with open_ranker(opened, engine="packed", model=str(merged), **options) as ranker:
            yield ranker
