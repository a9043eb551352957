"""A Postgres on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "geheim-7261"
_NOBODY = 65534  # Postgres does not run as root


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database of a Postgres that asks for a password."""
    spec = find_spec("pgserver")
    assert spec is not None and spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    # Not in pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="promptrank-postgres-"))
    folder.chmod(0o755)
    data, secret = folder / "data", folder / "secret"
    data.mkdir(mode=0o700)
    secret.write_text(PASSWORD)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        # Nor may nobody enter every folder that packages are installed in.
        packages = programs.parent.parent.parent
        for name in ("pgserver", "pgserver.libs"):
            if (packages / name).is_dir():
                shutil.copytree(packages / name, folder / name, symlinks=True)
        programs = folder / "pgserver" / "pginstall" / "bin"
        os.chown(data, _NOBODY, _NOBODY)
        who = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    made = ["--no-sync", "--no-instructions", "--encoding=utf8", "--locale=C"]
    made += ["--auth=scram-sha-256", f"--pwfile={secret}", "-U", "postgres", "-D", str(data)]
    subprocess.run([programs / "initdb", *made], check=True, capture_output=True, **who)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([programs / "postgres", *given], stdout=log, stderr=log, **who)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGPASSWORD", PASSWORD)
            address = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            _wait_for(address, server)
            yield address
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    from promptrank.errors import DataError
    from promptrank.places.postgres import connected

    until = time.monotonic() + 120
    while True:
        try:
            with connected(address):
                return
        except DataError:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)


def run_sql(address: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in one transaction; the rows of the last one."""
    from promptrank.places.postgres import connected

    with connected(address) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
    return [tuple(row) for row in rows]
