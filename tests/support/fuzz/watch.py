"""Running a surface in a process of its own, so that no crash and no hang ends the fuzzing."""

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parent.parent.parent
LIMIT = 60.0
"""Seconds of processor time after which an input counts as hung."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input.

    Attributes:
        kind: ``taken``, ``refused``, ``traceback`` (a dead interpreter too), ``hang``,
            ``invented``.
    """

    surface: str
    seed: int
    number: int
    kind: str
    message: str

    @property
    def fault(self) -> bool:
        """Whether promptrank did what it never should."""
        return self.kind not in ("taken", "refused")

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.surface} --seed {self.seed} --start {self.number}: {self.message}"
        )


def outcomes(surface: str, seed: int, numbers: range) -> Iterator[Outcome]:
    """What becomes of each input of a surface, in order."""
    while numbers:
        stopped = None
        with TemporaryDirectory(prefix="fuzz-") as folder:
            for outcome in _watched(surface, seed, numbers, Path(folder)):
                stopped = outcome.number
                yield outcome
        if stopped is None:
            raise RuntimeError(f"the surface {surface} could not be set up")
        # Whole, or dead at this input: go on behind it.
        numbers = range(stopped + 1, numbers.stop)


def _watched(surface: str, seed: int, numbers: range, folder: Path) -> Iterator[Outcome]:
    words = [sys.executable, "-m", "support.fuzz.child", surface, str(folder), str(seed)]
    words += [str(numbers.start), str(numbers.stop)]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    sealed = {
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "PROMPTRANK_OFFLINE": "1",
        "PROMPTRANK_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "log"
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **sealed}
        ) as child,
    ):
        running: int | None = None
        try:
            for line in _lines(child):
                match line.split(" ", 3) if line is not None else ["hang"]:
                    case ["begin", number]:
                        running = int(number)
                    case ["end", number, kind, *message]:
                        running = None
                        yield Outcome(surface, seed, int(number), kind, " ".join(message))
                    case _:
                        if running is not None:
                            yield Outcome(surface, seed, running, "hang", f"{LIMIT:.0f} s")
                        return
            child.wait()
        finally:
            child.kill()
        if running is not None:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            died = f"the interpreter died ({child.returncode}): {' '.join(last)}"
            yield Outcome(surface, seed, running, "traceback", died[:300])
        elif child.returncode:
            raise RuntimeError(log.read_text(encoding="utf-8", errors="replace")[-2000:])


def _lines(child: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Lines as they come; None once the child has spent the limit since the last one."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        text, spent = b"", _seconds(child.pid)
        while True:
            if not waiting.select(1.0):
                if _seconds(child.pid) - spent > LIMIT:
                    yield None
                    return
                continue
            more = os.read(child.stdout.fileno(), 65536)
            if not more:
                return
            *lines, text = (text + more).split(b"\n")
            spent = _seconds(child.pid)
            for line in lines:
                yield line.decode("utf-8", "replace")


def _seconds(pid: int) -> float:
    """Processor time of a living process; of a busy machine's clock one learns nothing."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
