"""Ray for the length of a job: a local one that is started for it, or a cluster that is running.

A local Ray talks to nobody: no usage statistics, no dashboard, no logs but in a scratch folder that
goes when the job ends. Its processes end with the one that started them, however that ends.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from promptrank.basics.scratch import scratch
from promptrank.errors import InputError

LOCAL = "ray"
"""What ``--on`` says for a Ray on this machine alone."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray itself prints into our output
    "RAY_TQDM": "0",
}
_FOR_THE_JOB = {"RAY_worker_niceness": "0"}  # workers are the job itself, not something beside it
_HANDED_ON = ("PYTHONPATH", "PROMPTRANK_PROJECT", "PROMPTRANK_OFFLINE", "HF_HUB_OFFLINE")
"""Environment variables that workers of a running cluster get from the driver."""
_CLIENT = "ray://"
_LONGEST = 40  # characters of a folder whose sockets Ray can still name


@dataclass(frozen=True, slots=True)
class WantedWorkers:
    """Where and how many.

    Attributes:
        on: ``ray``; or the address of a running cluster: ``auto``, ``ray://HOST:10001``,
            ``HOST:6379``.
        workers: processes with an engine each; as many as the cluster has room for if None.
        cpus: of one worker; what Ray counts.
        gpus: of one worker, of which a part is allowed; None for one each where there are GPUs.
    """

    on: str
    workers: int | None = None
    cpus: float = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("--workers", self.workers, 1),
            ("--cpus-per-worker", self.cpus, 0),
            ("--gpus-per-worker", self.gpus, 0),
        ):
            if value is not None and not value >= least:
                raise InputError(f"{name} {value}: give {least} or more")
        if self.workers is None and not self.cpus and not self.gpus:
            raise InputError("workers that take no CPU and no GPU: say how many by --workers")


@contextmanager
def ray_session(wanted: WantedWorkers) -> Iterator[Any]:
    """The module ``ray``, connected; a local one is shut down afterwards.

    A process that is connected already stays so, and its Ray is taken.

    Raises:
        InputError: Ray is not installed, or nothing answers at the address.
    """
    ray = _imported(_QUIET | (_FOR_THE_JOB if wanted.on == LOCAL else {}))
    if ray.is_initialized():
        yield ray
        return
    with ExitStack() as stack:
        given: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if wanted.on == LOCAL:
            folder = str(stack.enter_context(scratch()))
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
            needed = int((wanted.workers or 0) * wanted.cpus + 0.999)
            given |= {
                "address": "local",
                "include_dashboard": False,
                "num_cpus": max(needed, cores or os.cpu_count() or 1),
                "_temp_dir": folder if len(folder) <= _LONGEST else None,
            }
        else:
            handed = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
            given |= {"address": wanted.on, "runtime_env": {"env_vars": handed}}
        stack.callback(ray.shutdown)
        try:
            with _own_signals():
                ray.init(**given)
        except ImportError as error:
            raise InputError(
                f"--on {wanted.on}: Ray's client does not load here ({error}); install it by "
                "pip install 'ray[client]'"
            ) from error
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise InputError(_refused(wanted.on, error)) from error
        yield ray


def workers_that_fit(ray: Any, wanted: WantedWorkers, on_gpu: bool) -> WantedWorkers:
    """The same with numbers: as many workers as the cluster has room for where nobody says.

    Args:
        on_gpu: whether the engine computes on GPUs where there are some.

    Raises:
        InputError: it has room for none.
    """
    has = ray.cluster_resources()
    gpus = wanted.gpus
    if gpus is None:
        gpus = 1 if on_gpu and has.get("GPU", 0) else 0
    count = wanted.workers
    if count is None:
        rooms = [int(has.get("CPU", 0) / wanted.cpus)] if wanted.cpus else []
        rooms += [int(has.get("GPU", 0) / gpus)] if gpus else []
        count = min(rooms)
    if count < 1:
        raise InputError(
            f"the cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs, less than "
            f"the {wanted.cpus:g} and {gpus:g} that one worker takes; see --cpus-per-worker and "
            "--gpus-per-worker, or say by --workers how many it will have room for"
        )
    return WantedWorkers(wanted.on, count, wanted.cpus, gpus)


def _imported(environment: Mapping[str, str]) -> Any:
    for name, value in environment.items():  # read when it is imported, and by what it starts
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError("--on needs Ray: pip install 'promptrank[ray]'") from None
    # It says whatever is of note by exceptions too.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets a handler of SIGTERM of its own; ours is put back, so that exit codes stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(TypeError):  # what was set outside of Python
            signal.signal(signal.SIGTERM, before)


def _refused(on: str, error: Exception) -> str:
    said = " ".join(str(error).split())[:300]
    if on == LOCAL:
        return f"Ray did not start on this machine: {said}"
    token = ""
    if on.startswith(_CLIENT):  # to which a refused token looks like silence
        token = "; one that asks for a token wants RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too"
    return (
        f"--on {on}: no Ray cluster answers there ({said}); `ray status` shows a running one, and "
        f"--on {LOCAL} starts one on this machine{token}"
    )
