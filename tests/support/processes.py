"""Other processes as they are found, which may end by themselves at any moment."""

import contextlib

import psutil


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def title(process: psutil.Process) -> str:
    """What it calls itself, as ``ray::RankingWorker``; empty where it has ended."""
    try:
        return str((process.cmdline() or [process.name()])[0])
    except psutil.NoSuchProcess:
        return ""


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
