"""What went wrong while a run ranked, and was mended: counted by shard, told in words."""

from collections.abc import Mapping
from typing import Any

from promptrank.basics.plurals import counted
from promptrank.caching.cached_engine import bare_engine
from promptrank.engine.contract import Restarting, Shrinking
from promptrank.runtime.opened import Opened

MEMORY, RESTARTS, RAISED = "out_of_memory", "restarts", "engine_errors"


def fault_counts(opened: Opened[Any]) -> dict[str, int]:
    """By kind, how often so far: memory that ran out, processes started anew, steps that raised."""
    engine = bare_engine(opened.engine)
    return {
        MEMORY: engine.shrunk if isinstance(engine, Shrinking) else 0,
        RESTARTS: engine.restarted if isinstance(engine, Restarting) else 0,
        RAISED: opened.faults.raised,
    }


def faults_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What has come since, of the kinds that have come at all."""
    return {name: n - before[name] for name, n in now.items() if n > before[name]}


def told_faults(faults: Mapping[str, int], opened: Opened[Any] | None = None) -> list[str]:
    """A sentence for each kind.

    Args:
        opened: what the run goes on with.
    """
    lines = []
    if many := faults.get(MEMORY):
        engine = bare_engine(opened.engine) if opened is not None else None
        now = (
            f", to {engine.forward_tokens} tokens at a time"
            if isinstance(engine, Shrinking)
            else ""
        )
        lines.append(f"memory ran out {counted(many, 'time')}: batches were halved{now}")
    if many := faults.get(RESTARTS):
        lines.append(f"the engine's process died and was started anew {counted(many, 'time')}")
    if many := faults.get(RAISED):
        lines.append(
            f"the engine raised an error {counted(many, 'time')}: what it was at was tried again"
        )
    return lines


def check_hope(opened: Opened[Any], asked: int) -> None:
    """Nothing is written of an engine that has answered nothing at all.

    Args:
        asked: requests of the shard.

    Raises:
        Exception: what it raised at the last of them.
    """
    faults = opened.faults
    if asked > 1 and not faults.answered and faults.in_a_row and faults.last is not None:
        raise faults.last
