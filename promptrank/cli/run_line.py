"""What the moving line of a run tells beside requests: tokens a second, kept scores, errors."""

from typing import TYPE_CHECKING

from promptrank.basics.plurals import counted
from promptrank.cli.progress import Pace

if TYPE_CHECKING:
    from promptrank.runs.throughput import Throughput


class RunLine:
    """A `promptrank.cli.progress.Beside` of one run after another."""

    def __init__(self, throughput: "Throughput") -> None:
        """Tell of a run that begins."""
        self.begin(throughput)

    def begin(self, throughput: "Throughput") -> None:
        """Tell of this run from now on."""
        self._throughput, self._pace = throughput, Pace()

    @property
    def skipped(self) -> int:
        """Requests that an earlier start had done, or that kept the scores of an earlier run."""
        return self._throughput.taken_over + self._throughput.reused

    def look(self, now: float) -> None:
        """Take down the tokens that are asked by now."""
        self._pace.add(now, self._throughput.tokens.unique)

    def words(self) -> str:
        """``12,300 unique tokens a second, 40 kept, 3 error rows``."""
        told = []
        if rate := self._pace.rate:
            told.append(f"{rate:,.0f} unique tokens a second")
        if self._throughput.reused:
            told.append(f"{self._throughput.reused:,} kept")
        if (use := self._throughput.cache) is not None and use.hits:
            told.append(f"{counted(use.hits, 'prompt')} from the cache")
        if errors := self._throughput.errors.total():
            told.append(counted(errors, "error row"))
        return ", ".join(told)
