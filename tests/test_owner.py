"""One owner at a time: locks between processes and threads, and what killed owners leave."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promptrank.adapters.alias import read_aliases
from promptrank.basics.files import beside, put_folder, write_text
from promptrank.basics.owner import clear_dead, lock_file, owned
from promptrank.basics.scratch import scratch
from promptrank.errors import InputError
from promptrank.runs.outputs import taken


@contextmanager
def other(code: str, *words: object) -> Iterator["subprocess.Popen[str]"]:
    """Another Python process that has got as far as to print a line; it is killed at the end."""
    command = [sys.executable, "-c", code, *map(str, words)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def kill(child: "subprocess.Popen[str]") -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def together(*children: "subprocess.Popen[str]") -> None:
    """Let them all begin before the first one ends; all must end well."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.wait() == 0


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match), owned(path, "rank"):
        pass


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


OWNER = """
import sys
from pathlib import Path
from promptrank.basics.owner import owned
with owned(Path(sys.argv[1]), "rank"):
    print("ready", flush=True)
    input()
"""


@pytest.mark.slow
def test_a_second_process_is_told_who_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    with other(OWNER, path) as child:
        said = rf"{path} is being written by process {child.pid} on \S+ \(promptrank rank, since "
        refused(path, said + r"\d\d:\d\d:\d\d\); wait for it or write elsewhere")
        # A stopped process is one that lives.
        child.send_signal(signal.SIGSTOP)
        refused(path, f"process {child.pid}")
        kill(child)
        with owned(path, "rank"):
            assert names(tmp_path) == [".out.parquet.lock"]
    assert names(tmp_path) == []


@pytest.mark.long
def test_a_second_thread_is_refused_and_other_names_are_free(tmp_path: Path) -> None:
    found: list[str] = []

    def try_it() -> None:
        try:
            with taken(tmp_path / "s.jsonl", "rank"):
                found.append("taken")
        except InputError as error:
            found.append(str(error))

    with taken(tmp_path / "s.parquet", "rank"), taken(tmp_path / "t.parquet", "rank"):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        refused(tmp_path / "s", "is being written by this very process")
    try_it()
    # Both would write s.errors.jsonl and s.config.json.
    assert "s.jsonl goes together with s.parquet, which is being written" in found[0]
    assert found[1] == "taken"
    assert names(tmp_path) == []


@pytest.mark.slow
def test_every_way_to_a_folder_leads_to_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(real)
    with owned(real / "a", "train"):
        for same in (Path("a"), tmp_path / "link" / "a", real / ".." / "real" / "a"):
            refused(same, "is being written")


COUNT = """
import sys
from pathlib import Path
from promptrank.basics.owner import owned
path = Path(sys.argv[1])
print("ready", flush=True)
input()
for _ in range(40):
    with owned(path, "count", wait=60):
        path.write_text(str(int(path.read_text()) + 1))
"""


@pytest.mark.long
def test_no_two_hold_a_lock_though_its_file_is_removed_each_time(tmp_path: Path) -> None:
    path = tmp_path / "n"
    path.write_text("0")
    with other(COUNT, path) as a, other(COUNT, path) as b, other(COUNT, path) as c:
        together(a, b, c)
    assert path.read_text() == "120"
    assert names(tmp_path) == ["n"]


ALIASES = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from promptrank.adapters.alias import set_alias
folder, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
input()
with ThreadPoolExecutor(5) as pool:
    list(pool.map(lambda n: set_alias(folder, f"a@{n}", "movies", "d"), range(first, first + 5)))
"""


@pytest.mark.long
def test_no_alias_is_lost_between_twenty_writers(tmp_path: Path) -> None:
    with (
        other(ALIASES, tmp_path, 0) as a,
        other(ALIASES, tmp_path, 5) as b,
        other(ALIASES, tmp_path, 10) as c,
        other(ALIASES, tmp_path, 15) as d,
    ):
        together(a, b, c, d)
    assert sorted(read_aliases(tmp_path)) == sorted(f"a@{n}" for n in range(20))
    assert names(tmp_path) == ["aliases.json"]


# -- file systems ----------------------------------------------------------------------------


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    refused(tmp_path / "a", r"gives no locks .*PROMPTRANK_LOCKS=0")
    monkeypatch.setenv("PROMPTRANK_LOCKS", "0")
    with owned(tmp_path / "a", "rank"), scratch(tmp_path) as folder:
        assert names(tmp_path) == [".a.lock", folder.name]  # nobody can say whose it is
    with pytest.raises(NotADirectoryError), owned(tmp_path / "a", "rank"):
        raise NotADirectoryError  # the caller's own errors stay what they are


@pytest.mark.long
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "a", "cannot be written")
    if Path("/proc/self").exists():  # where nobody can make a file, and locks are tried in vain
        refused(Path("/proc/x.json"), r"/proc/x\.json: cannot be written: /proc takes no new files")
    if Path("/sys/kernel").exists():
        refused(Path("/sys/x.json"), "/sys takes no new files|cannot be written")


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    lock_file(tmp_path, "a").symlink_to(tmp_path / "mine")
    refused(tmp_path / "a", "cannot be written")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (b"", "another process;"),
        (b"[1]", "another process;"),
        (b"[" * 5000, "another process;"),
        (b'{"pid": 7, "host": "h\\u001b[2J", "command": 3}', r"process 7 on h\[2J \(3\);"),
        (
            b'{"pid": 7, "host": "h", "command": "c", "since": "x"}',
            r"process 7 on h \(c, since x\);",
        ),
        (
            b'{"pid": 7, "host": "h", "command": "c", "since": "2001-01-09T12:00:00+00:00"}',
            r"process 7 on h \(c, since 2001-01-(09|10) \d\d:\d\d:00\)",
        ),
    ],
)
def test_what_stands_in_a_lock_is_shown_as_plain_words(
    tmp_path: Path, facts: bytes, shown: str
) -> None:
    with owned(tmp_path / "a", "rank"):
        lock_file(tmp_path, "a").write_bytes(facts)
        refused(tmp_path / "a", f"a is being written by {shown}")


# -- left-overs ------------------------------------------------------------------------------

LEAVE = """
import os, sys
from pathlib import Path
from promptrank.basics.files import beside
from promptrank.basics.leftovers import old_of
from promptrank.basics.owner import owned
from promptrank.basics.scratch import scratch
from promptrank.runs.outputs import taken
root = Path(sys.argv[1])
with (
    taken(root / "s.parquet", "rank"),
    beside(root / "s.parquet") as a,
    beside(root / "s.errors.jsonl") as b,
    owned(root / "merged", "adapters merge"),
    beside(root / "merged") as c,
    owned(root / "student", "distill"),
    scratch(root) as d,
):
    a.write_text("half")
    b.write_text("half")
    c.mkdir()
    (c / "model").write_text("half")
    (d / "build.duckdb").write_text("half")
    (root / "student").mkdir()
    (root / "student" / "card.json").write_text("whole")
    (root / "student").replace(old_of(root / "student"))  # and killed before the new one stands
    print("ready", flush=True)
    input()
"""


def test_the_next_one_clears_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.5.part", ".s.x.parquet.7.part", ".foreign.lock", "s.parquet.partial"):
        (tmp_path / name).write_text("somebody's")
    kept = names(tmp_path)
    with other(LEAVE, tmp_path) as child:
        living = names(tmp_path)
        assert len(living) == len(kept) + 9  # four locks, four unfinished, one put aside
        with owned(tmp_path / "else", "rank"):
            assert names(tmp_path) == sorted([*living, ".else.lock"])
        kill(child)
        with owned(tmp_path / "else", "rank"):
            assert names(tmp_path) == sorted([*kept, ".else.lock", "student"])
    assert (tmp_path / "student" / "card.json").read_text() == "whole"


def test_a_lock_points_to_nothing_but_what_bears_its_name(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "precious").write_text("mine")
    facts = {"promptrank": 1, "writes": "../precious", "pid": 1, "host": "h"}
    for name in (".s.lock", ".promptrank-.lock", "..lock", ".lock"):
        (inner / name).write_text(json.dumps(facts))
    (inner / "s").write_text("mine")
    clear_dead(inner)
    assert names(inner) == ["s"]
    assert names(tmp_path) == ["inner", "precious"]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs another user")
def test_locks_of_other_users_are_left_alone(tmp_path: Path) -> None:
    place = lock_file(tmp_path, "s")
    place.write_text('{"promptrank": 1}')
    (tmp_path / ".s.7.part").write_text("theirs")
    os.chown(place, 12345, 12345)
    clear_dead(tmp_path)
    assert names(tmp_path) == [".s.7.part", ".s.lock"]


def test_a_folder_replaces_only_its_own_name(tmp_path: Path) -> None:
    for name in ("made", "a", ".a.7.old", ".a.b.7.old"):
        (tmp_path / name).mkdir()
    put_folder(tmp_path / "made", tmp_path / "a")
    assert names(tmp_path) == [".a.b.7.old", "a"]


def test_a_name_of_any_signs_is_cleared(tmp_path: Path) -> None:
    for name in ("a[1]*.parquet", "line\nend.parquet", "-.parquet"):
        with pytest.raises(KeyboardInterrupt), taken(tmp_path / name, "rank"):
            part = tmp_path / f".{name}.7.part"
            part.write_text("half")
            raise KeyboardInterrupt
        with taken(tmp_path / name, "rank"):
            assert not part.exists()
        with taken(tmp_path / name, "rank"), beside(tmp_path / name) as part:
            write_text(part, "whole")
        assert (tmp_path / name).read_text() == "whole"


def test_scratch_goes_with_its_context(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="halfway"), scratch(tmp_path) as folder:
        (folder / "a").mkdir()
        raise ValueError("halfway")
    assert names(tmp_path) == []
