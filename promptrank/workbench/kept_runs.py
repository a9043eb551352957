"""What the workbench keeps: versions in the project's file, and the runs that are under way."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.source import RequestFile, Sample
from promptrank.scores.scores import Scores
from promptrank.workbench.beside_saved import EDIT, SAVED
from promptrank.workbench.database import PLACE, Database
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.kept_rankings import KeptRankings
from promptrank.workbench.looks import Look, measured
from promptrank.workbench.sampled_run import SampledRun, Sides
from promptrank.workbench.versions import RUNNING, KeptRun, Versions
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.request_files import given_file

_LIVE = 4  # runs under way at once; they take turns
_REMEMBERED = 8  # runs whose requests are at hand


@dataclass(frozen=True, slots=True)
class Store:
    """Versions and the rankings that belong to them."""

    versions: Versions
    rankings: KeptRankings


@dataclass(frozen=True, slots=True)
class Looked:
    """A run as a page shows it.

    Attributes:
        live: where it is under way in this process; None where it has ended, or is elsewhere.
    """

    run: KeptRun
    seen: Look | None
    live: SampledRun | None = None


class Kept:
    """Versions and runs of a desk; all methods may be called from any thread.

    In read-only mode runs stay in memory, and are gone with the process; what the file has is
    shown.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._stores: tuple[Store, ...] = ()
        self._live: dict[str, SampledRun] = {}
        self._looked: dict[str, Look] = {}
        self._requests: dict[tuple[str, str], Request] = {}

    @property
    def path(self) -> Path:
        """The file, whether or not it is there yet."""
        return self.desk.project / PLACE

    # -- versions --------------------------------------------------------------------------

    def own(self) -> Store:
        """Where this server keeps its runs.

        Raises:
            InputError: the file cannot be used.
        """
        return self._opened()[0]

    def every(self, task: str) -> list[KeptRun]:
        """The runs of a task, the latest first."""
        runs = [run for store in self._opened() for run in store.versions.every(task)]
        return sorted(runs, key=lambda run: -run.made)

    def last_scores(self, task: str) -> tuple[Scores, Scores] | None:
        """What the edit and the saved version said in the latest run of a task that ranked.

        None where there is no such run, or its rankings are not kept any more.
        """
        for run in self.every(task):
            if run.request_ids:
                rankings = self.holding(run.run_id).rankings
                with suppress(DataError):
                    edit = rankings.scores(run.edit_key, run.request_ids)
                    return edit, rankings.scores(run.saved_key, run.request_ids)
        return None

    def holding(self, run_id: str) -> Store:
        """Where a run is kept.

        Raises:
            DataError: nowhere.
        """
        *others, last = self._opened()
        for store in others:
            try:
                store.versions.run(run_id)
            except DataError:
                continue
            return store
        last.versions.run(run_id)
        return last

    def run(self, run_id: str) -> KeptRun:
        """A kept run.

        Raises:
            DataError: there is none.
        """
        return self.holding(run_id).versions.run(run_id)

    def keep(self, run: KeptRun) -> int:
        """Keep a run in this server's store; how many old ones were removed for it."""
        return self.own().versions.keep(run)

    def delete(self, run_id: str) -> None:
        """Remove a run; one that is under way is stopped first."""
        with self._lock:
            live = self._live.pop(run_id, None)
            self._looked.pop(run_id, None)
        if live is not None:
            live.stop()
            live.join(5)
        self.holding(run_id).versions.delete(run_id)

    def _opened(self) -> tuple[Store, ...]:
        with self._lock:
            if not self._stores:
                self._stores = (_store(Database(None if self.desk.read_only else self.path)),)
            if self.desk.read_only and len(self._stores) == 1 and self.path.is_file():
                self._stores += (_store(Database(self.path, read_only=True)),)
            return self._stores

    # -- runs ------------------------------------------------------------------------------

    def begin(
        self,
        task: DeskTask,
        edit: TaskTexts,
        *,
        part: str | None,
        size: int | None,
        file: Path,
        busy: Callable[[], bool],
    ) -> SampledRun:
        """Begin to rank an edit and what the files hold on a sample.

        Raises:
            InputError: the edit's task cannot work, or not with this server's model as it is open;
                or too many runs are under way.
        """
        draft = task.drafted(edit)
        now = task.saved()
        saved = task.drafted(now)
        for each in (draft, saved):
            self.desk.check_draft(task, each)
        adapter = self.desk.served(task).ranker.adapter
        with self._lock:
            self._live = {name: run for name, run in self._live.items() if not _over(run)}
            if len(self._live) >= _LIVE:
                raise InputError(f"{_LIVE} samples are being ranked; stop one, or wait")
        store = self.own()
        run = KeptRun(task.name, edit, now, part=part, facts={"file": str(file)})
        sampled = SampledRun(
            run,
            size,
            Sides(
                lambda: self.desk.rank_draft(draft, adapter),
                lambda: self.desk.rank_draft(saved, adapter),
                busy,
                lambda: self.desk.hosted.state == "draining",
            ),
            given_file(task.opened, file),
            store.versions,
            store.rankings,
            self._turn,
        )
        with self._lock:
            self._live[run.run_id] = sampled
        sampled.start()
        return sampled

    def live(self, run_id: str) -> SampledRun | None:
        """A run that began in this process and was not forgotten yet."""
        with self._lock:
            return self._live.get(run_id)

    def looked(self, run_id: str) -> Looked:
        """A run and what was measured of it.

        Raises:
            DataError: there is no such run.
        """
        live = self.live(run_id)
        if live is not None:
            named = live.run
            with suppress(DataError):  # it is kept once both sides are open
                named = self.own().versions.run(run_id)
            return Looked(named, live.seen, None if live.progress.ended else live)
        store = self.holding(run_id)
        run = store.versions.run(run_id)
        if not run.request_ids:
            return Looked(run, None)
        with self._lock:
            seen = self._looked.get(run_id)
        if seen is None:
            seen = self._measured(store, run)
            if run.state != RUNNING:
                with self._lock:
                    self._looked[run_id] = seen
                    for old in list(self._looked)[:-_REMEMBERED]:
                        del self._looked[old]
        return Looked(run, seen)

    def _measured(self, store: Store, run: KeptRun) -> Look:
        file = self.file_of(run)
        sample = Sample(file, ids=set(run.request_ids))
        requests = list(sample)
        saved = store.rankings.scores(run.saved_key, run.request_ids)
        edit = store.rankings.scores(run.edit_key, run.request_ids)
        report = store.versions.report(run.run_id)
        # What the run measured at its end stands; labels may have changed since.
        seen = measured(file, requests, saved, edit, draws=1000 if report is None else 0)
        return seen if report is None else replace(seen, report=report, reason="")

    def file_of(self, run: KeptRun) -> RequestFile:
        """The request file of a run.

        Raises:
            DataError: the server does not have it any more.
        """
        task = self.desk.task(run.task)
        for path in task.request_files:
            if str(path) == run.facts.get("file"):
                return given_file(task.opened, path)
        raise DataError(
            f"the run's request file {str(run.facts.get('file'))[:200]} is not among those of this "
            "server; name it by --requests"
        )

    def request(self, run: KeptRun, request_id: str) -> Request:
        """One request of a run.

        Raises:
            DataError: the file has none of that id.
        """
        key = str(run.facts.get("file")), request_id
        with self._lock:
            known = self._requests.get(key)
        if known is None:
            sample = Sample(self.file_of(run), ids={request_id})
            known = next(iter(sample), None)
            if known is None:
                raise DataError(f"no request {request_id[:80]!r} in the run's request file")
            with self._lock:
                self._requests[key] = known
                for old in list(self._requests)[:-256]:
                    del self._requests[old]
        return known

    def rankers(self, run: KeptRun) -> dict[str, Ranker]:
        """What ranks both sides of a run, for a look at their prompts."""
        task = self.desk.task(run.task)
        sides = {SAVED: run.saved, EDIT: run.edit}
        return {
            side: self.desk.draft_ranker(task, task.drafted(texts)) for side, texts in sides.items()
        }


def _over(run: SampledRun) -> bool:
    return run.progress.ended


def _store(database: Database) -> Store:
    return Store(Versions(database), KeptRankings(database))
