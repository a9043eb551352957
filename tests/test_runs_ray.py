"""Runs on Ray: the files of a local run, whoever is killed; nothing lost, nothing for ever."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from promptrank.api.build import build
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import RequestFile
from promptrank.runs import ray_pool, ray_run, run_identity, shards
from promptrank.runs.manifest import task_digest
from promptrank.runs.ray_pool import WorkerPool
from promptrank.runs.ray_session import WantedWorkers, ray_session, workers_that_fit
from promptrank.runs.ray_worker import WorkerFacts
from promptrank.runs.sharded_run import RunSummary
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.workspace import run_workers
from support.models import make_model
from support.processes import alive, kill, title

# Not beside each other: clusters that start at once on one machine wait too long for each other.
pytestmark = pytest.mark.xdist_group("ray")

TASK = "toys/like"
ROOT = Path(__file__).parent.parent


def run(root: Path, folder: str = "run", **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3, "threads": 1}
    return rank_run(TASK, root / folder, requests=root / "requests.jsonl", **given | more)


def on_ray(root: Path, folder: str = "run", **more: Any) -> RunSummary:
    return run(root, folder, on="ray", workers=2, **more)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what only tells of its start, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def scorer_of(folder: Path) -> dict[str, Any]:
    written = json.loads((folder / "run.json").read_text())
    return {name: value for name, value in written.items() if name not in ("argv", "sha256")}


@pytest.fixture
def asked(toys: Path) -> Path:
    """The toys, with a request file of 30 requests, one of which lost a candidate."""
    build(TASK, toys / "requests.parquet", project=toys)
    rows: list[dict[str, Any]] = [
        {
            "request_id": f"r{number:02}",
            "member_id": f"p{number}",
            "member": {"name": f"Person {number}"},
            "candidate_id": name,
            "item_id": name,
            "item": {"title": f"Toy {name}", "color": "red"},
        }
        for number in range(30)
        for name in ("a", "b", "c")
    ]
    rows[40]["item"] = 5
    (toys / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return toys


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """One Ray for the module; nothing of it is left afterwards."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with ray_session(WantedWorkers("ray", 2)) as ray:
        yield ray
    assert not {p.pid for p in psutil.Process().children(recursive=True) if alive(p)} - before


def opened_with(change: Callable[[Any], None], at: pytest.MonkeyPatch) -> None:
    """Workers open as ever, and then call ``change`` with the class of the fake engine."""

    def opening(*given: Any, **more: Any) -> Ranker:
        from promptrank.engine.fake import FakeEngine
        from promptrank.workspace.run_workers import open_in_worker

        change(FakeEngine)
        return open_in_worker(*given, **more)

    at.setattr(run_workers, "open_in_worker", opening)


def deadly(requests: dict[str, Path | None]) -> Callable[[Any], None]:
    """Requests that kill their process; once only where they have a marker."""

    def change(engine: Any) -> None:
        import os
        import signal

        begin = engine.begin

        def begin_or_die(self: Any, trees: Any) -> Any:
            for tree in trees:
                if tree.tree_id in requests:
                    marker = requests[tree.tree_id]
                    if marker is None or not marker.exists():
                        if marker is not None:
                            marker.touch()
                        os.kill(os.getpid(), signal.SIGKILL)
            return begin(self, trees)

        engine.begin = begin_or_die

    return change


def test_what_goes_with_on_needs_it(toys: Path) -> None:
    with pytest.raises(InputError, match=r"--workers, .* go with --on"):
        rank_run(TASK, toys / "run", engine="fake", project=toys, workers=2)
    for given, words in (
        ({"workers": 0}, "--workers 0: give 1 or more"),
        ({"cpus_per_worker": -1}, "--cpus-per-worker -1: give 0 or more"),
        ({"cpus_per_worker": 0}, "say how many by --workers"),
    ):
        with pytest.raises(InputError, match=words):
            rank_run(TASK, toys / "run", engine="fake", project=toys, on="ray", **given)  # type: ignore[arg-type]


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    wanted = WantedWorkers("ray")
    with pytest.raises(InputError, match=r"pip install 'promptrank\[ray\]'"), ray_session(wanted):
        pass


def test_as_many_workers_as_there_is_room_for() -> None:
    class Cluster:
        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 10.0, "GPU": 3.0}

    def fit(on_gpu: bool = False, **wanted: Any) -> tuple[int | None, float | None]:
        made = workers_that_fit(Cluster(), WantedWorkers("auto", **wanted), on_gpu)
        return made.workers, made.gpus

    assert fit() == (10, 0)
    assert fit(cpus=4) == (2, 0)
    assert fit(on_gpu=True) == (3, 1)
    assert fit(on_gpu=True, gpus=0.5) == (6, 0.5)
    assert fit(on_gpu=True, gpus=0, cpus=2.5) == (4, 0)
    assert fit(workers=50) == (50, 0)
    with pytest.raises(InputError, match="10 CPUs and 3 GPUs, less than the 16 and 0"):
        fit(cpus=16)


@pytest.mark.slow
def test_killed_workers_change_no_file_and_a_deadly_request_is_set_aside(
    asked: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = run(asked, "local")
    assert local.counted.errors == 1
    said: list[str] = []
    told: list[int] = []
    opened_with(deadly({"r07": None, "r13": asked / "died"}), monkeypatch)
    done = on_ray(asked, say=said.append, progress=lambda count, total: told.append(count))
    assert "a worker ended while it ranked shard 000004; tried again" in said
    assert done.counted.reasons == {"bad_row": 1, "killed_the_process": 1}
    assert done.counted.set_aside == 3
    assert told == sorted(told) and told[-1] == 30 and len(set(told)) > 5
    ours, theirs = files(asked / "run"), files(asked / "local")
    differ = {name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)}
    of_the_shard = ("scores/000002.parquet", "errors/000002.jsonl", "prompts/000002.parquet")
    assert differ == {*of_the_shard, "shards/000002.json", "summary.json"}
    # Where it was begun, and where it is gone on with, is all the same.
    assert scorer_of(asked / "run") == scorer_of(asked / "local")
    for name in ("shards/000002.json", "shards/000006.json", "shards/000009.json", "summary.json"):
        (asked / "run" / name).unlink()
    again = run(asked)
    assert again.resumed == 7
    assert files(asked / "run") == theirs
    for name in ("shards/000002.json", "shards/000006.json", "shards/000009.json", "summary.json"):
        (asked / "run" / name).unlink()
    monkeypatch.undo()
    assert on_ray(asked).resumed == 7
    assert files(asked / "run") == theirs


@pytest.mark.slow
def test_a_shard_that_ends_its_workers_again_and_again_is_told_at_the_end(
    asked: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "ATTEMPTS", 1)
    monkeypatch.setattr(ray_run, "ATTEMPTS", 1)
    opened_with(deadly({"r07": None}), monkeypatch)
    with pytest.raises(InputError, match=r"1 shard ended .* 1 times \(000002\).*same command"):
        on_ray(asked)
    assert shards.numbers(asked / "run") == [0, 1, *range(3, 10)]
    assert not (asked / "run" / "summary.json").exists()


@pytest.mark.slow
def test_packed_scores_are_those_of_one_process(asked: Path, session: Any) -> None:
    run(asked, "earlier", engine="packed", size=8, limit=10)
    given: dict[str, Any] = {"engine": "packed", "size": 8, "since": asked / "earlier"}
    local = run(asked, "local", **given)
    assert 0 < local.counted.reused <= 10
    assert on_ray(asked, **given).counted == local.counted
    assert files(asked / "run") == files(asked / "local")


@pytest.mark.slow
def test_workers_that_end_while_they_start_are_given_up(
    asked: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(engine: Any) -> None:
        import os

        os._exit(1)

    monkeypatch.setattr(ray_pool, "_STARTS", 1)
    opened_with(change, monkeypatch)
    with pytest.raises(InputError, match="workers end while they start"):
        on_ray(asked)


@pytest.mark.slow
def test_a_worker_with_other_files_is_refused(
    asked: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, compared = asked / "taken", asked / "compared"

    def opening(task: Any, given: dict[str, Any], runtime: Any) -> Ranker:
        import os
        import time

        from promptrank.engine.fake import FakeEngine
        from promptrank.workspace.run_workers import open_in_worker

        try:
            os.close(os.open(taken, os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # the second worker
            return open_in_worker(task, given | {"settings": ["budget.tokens=150"]}, runtime)
        begin = FakeEngine.begin

        def begin_late(self: Any, trees: Any) -> Any:
            while not compared.exists():
                time.sleep(0.01)
            return begin(self, trees)

        FakeEngine.begin = begin_late  # type: ignore[method-assign]
        return open_in_worker(task, given, runtime)

    check = run_identity.other_facts

    def told(*facts: Any) -> list[str]:
        if differ := check(*facts):
            compared.touch()
        return differ

    monkeypatch.setattr(ray_run, "other_facts", told)
    monkeypatch.setattr(run_workers, "open_in_worker", opening)
    # Whichever of them is ready first.
    words = r"has another (task file than is here|template, .* than a worker on .*); every machine"
    with pytest.raises(InputError, match=words):
        on_ray(asked, size=1)


def test_workers_that_have_another_template_than_the_driver_are_refused(tmp_path: Path) -> None:
    task = Task.model_construct(domain="toys", template="t.j2", questions={})

    class Pool:
        def first_facts(self, stop: Any) -> WorkerFacts:
            return WorkerFacts(
                "far", 7, Origin("decoder"), {"task_digest": task_digest(task)}, "theirs"
            )

    pool = cast(WorkerPool, Pool())
    words = r"a worker on far \(process 7\) has another template than is here; every machine"
    with pytest.raises(InputError, match=words):
        ray_run.score_shards_on_workers(
            tmp_path / "run",
            pool,
            task,
            RequestFile(tmp_path / "requests.jsonl", task),
            {},
            template="ours",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_a_worker_raises_ends_the_run_with_it(
    asked: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(engine: Any) -> None:
        def begin(self: Any, trees: Any) -> Any:
            raise OSError(28, "No space left on device", "scores/000001.parquet")

        engine.begin = begin

    opened_with(change, monkeypatch)
    with pytest.raises(OSError, match=r"No space left on device.*scores/000001") as caught:
        on_ray(asked)
    assert caught.value.errno == 28
    with pytest.raises(InputError, match="no adapter"):
        on_ray(asked, "other", adapter="nobody")


PLAN = """\
runs:
  - task: toys/like
  - task: toys/like
    name: short
    limit: 7
    set: {history.last: 2}
  - task: toys/like
    name: elsewhere
    model: MODEL
"""


@pytest.mark.slow
def test_runs_of_a_plan_have_the_files_of_one_process_and_share_workers(
    asked: Path, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path / "second", hidden_size=32)
    (asked / "nightly.yaml").write_text(PLAN.replace("MODEL", str(model)))
    given: dict[str, Any] = {"requests": asked / "requests.jsonl", "engine": "fake", "size": 3}
    given |= {"project": asked, "cache": asked / "cache"}

    def planned(folder: str, **more: Any) -> dict[str, RunSummary]:
        return rank_plan(asked / "nightly.yaml", asked / folder, **given, **more)

    local = planned("local", threads=1)
    shutil.rmtree(asked / "cache")
    pids = asked / "pids"
    pids.mkdir()

    def note(engine: Any) -> None:
        import os

        (pids / str(os.getpid())).touch()

    opened_with(note, monkeypatch)
    done = planned("runs", on="ray", workers=2)
    assert len(list(pids.iterdir())) == 2  # for all runs
    assert {n: s.counted for n, s in done.items()} == {n: s.counted for n, s in local.items()}
    assert files(asked / "runs") == files(asked / "local")
    # Workers have asked into one cache: the second run found what the first had kept of it.
    uses = [done[name].throughput.cache for name in ("toys-like", "short", "elsewhere")]
    assert uses == [local[name].throughput.cache for name in ("toys-like", "short", "elsewhere")]
    assert uses[0] is not None and uses[0].asked == 89 and not uses[0].hits
    again = planned("again", on="ray", workers=2)
    assert [s.throughput.cache and s.throughput.cache.asked for s in again.values()] == [0, 0, 0]
    assert files(asked / "again") == files(asked / "local")


@pytest.mark.slow
def test_what_is_wrong_with_a_plan_is_told_of_all_runs_before_any_begins(
    asked: Path, session: Any
) -> None:
    (asked / "nightly.yaml").write_text(
        "runs:\n  - task: toys/like\n  - {task: toys/like, name: b, adapter: nobody}\n"
        "  - {task: toys/like, name: c, adapter: gone}\n"
    )
    words = r"(?s)nightly.yaml.*runs.1: toys/like: .*no adapter.*runs.2: .*no adapter"
    with pytest.raises(InputError, match=words):
        rank_plan(
            asked / "nightly.yaml",
            asked / "runs",
            requests=asked / "requests.jsonl",
            project=asked,
            engine="fake",
            on="ray",
            workers=2,
        )
    assert not (asked / "runs" / "toys-like").exists()


def test_a_cache_on_another_machine_is_refused(tmp_path: Path) -> None:
    cache = run_workers.WorkersCache(tmp_path / "cache", tmp_path / "teacher", "far")
    with (
        pytest.raises(InputError, match=r"cache is a file of far, and a worker runs on .*--cache"),
        run_workers.worker_runtime(None, cache),
    ):
        pass
    assert not (tmp_path / "cache").exists()


def test_workers_prepare_for_themselves(toys: Path) -> None:
    with pytest.raises(InputError, match="--prepare is for one machine"):
        rank_run(TASK, toys / "run", engine="fake", project=toys, on="ray", prepare=2)


# -- as a command of its own -----------------------------------------------------------------


def command(root: Path, folder: str) -> list[str]:
    words = ["rank", TASK, "--engine", "fake", "--project", str(root), "--shard", "1"]
    words += ["--requests", str(root / "many.jsonl"), "--run", str(root / folder)]
    return [sys.executable, "-m", "promptrank", *words]


def started(root: Path, folder: str, **more: Any) -> subprocess.Popen[str]:
    """The command on Ray, in a group of processes of its own, as a shell starts it."""
    (root / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [*command(root, folder), "--on", "ray", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        **more,
    )


def wait_for_shards(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    while process.poll() is None and len(list(folder.glob("shards/*.json"))) < count:
        time.sleep(0.005)


def ends(processes: list[psutil.Process]) -> bool:
    """Whether all end soon but Ray's agents, which last a minute; these are ended here."""
    agents = [p for p in processes if title(p).endswith("Agent")]
    there = psutil.wait_procs([p for p in processes if p not in agents], timeout=60)[1]
    for process in agents:
        kill(process)
    return not any(map(alive, there))


@pytest.fixture
def many(asked: Path) -> Path:
    lines = (asked / "requests.jsonl").read_text().splitlines()[:3]
    with (asked / "many.jsonl").open("w") as file:
        for number in range(200):
            file.writelines(line.replace('"r00"', f'"q{number:03}"') + "\n" for line in lines)
    return asked


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_and_leaves_no_process(many: Path) -> None:
    """Driver, raylet and workers: all at once, and the driver alone."""
    subprocess.run(command(many, "local"), check=True, capture_output=True)
    draw = random.Random(11)
    for everybody in (True, False):
        process = started(many, "run")
        at = len(shards.numbers(many / "run")) if (many / "run").exists() else 0
        wait_for_shards(process, many / "run", at + draw.randint(5, 60))
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        if everybody:
            for member in family:
                kill(member)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert len(family) > 4 and ends(family)
    process = started(many, "run")
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert files(many / "run") == files(many / "local")
    assert "Person" not in said


@pytest.mark.slow
def test_ctrl_c_finishes_the_shards_in_hand(many: Path) -> None:
    process = started(many, "run")
    wait_for_shards(process, many / "run", 20)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of the group
    _, said = process.communicate(timeout=180)
    assert process.returncode == 130, said
    assert "finishing the shard in hand" in said
    assert "the same command goes on with it" in said
    there = shards.numbers(many / "run")
    assert 20 <= len(there) < 200 and not list((many / "run").rglob("*.part"))
    assert ends(family)
    for folder in ("run", "local"):  # what Ray has begun goes on without it
        subprocess.run(command(many, folder), check=True, capture_output=True)
    assert files(many / "run") == files(many / "local")
