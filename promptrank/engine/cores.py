"""How many CPU cores this process may use: by its affinity, and by the limits of its container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may use, at least 1.

    The number does not depend on what else runs: it decides how sums are cut, so the same run on
    the same machine has to get the same one.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    limit = quota()
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def quota(groups: Path = _GROUPS, own: Path = _OWN) -> float | None:
    """The smallest limit that a control group (a container's, a service's) sets, in cores.

    None where there is none, and where the system has no control groups.
    """
    limits = [limit for folder in _folders(groups, own) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Groups that this process is in, from the innermost out; of version 2 and of version 1."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, tail = line.partition(":")
        kinds, _, path = tail.partition(":")
        if kinds == "":
            roots = [groups, groups / "unified"]
        elif "cpu" in kinds.split(","):
            roots = [groups / kinds, groups / "cpu"]
        else:
            continue
        for root in roots:
            # Inside a container the path may be the host's, and the root is the container's own.
            inner = root / path.strip("/")
            yield from (p for p in (inner, *inner.parents) if p.is_relative_to(root))


def _limit(folder: Path) -> float | None:
    """Cores by ``cpu.max`` ("200000 100000"), or by the two files of version 1."""
    try:
        if (folder / "cpu.max").is_file():
            share, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            share = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
        given = float(share) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: there is no limit
        return None
    return given if given > 0 else None  # version 1 writes -1 for no limit
