"""How commands end: exit codes and sentences, as real processes and error by error."""

import ast
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from promptrank import __version__
from promptrank.assets import pull_names, resolve_model
from promptrank.basics.files import beside
from promptrank.basics.paths import expanded, naming
from promptrank.basics.stopping import GOES_ON, how_to_go_on, if_stopped
from promptrank.cli.endings import ending
from promptrank.errors import InputError, ModelError
from promptrank.project import builtin_root
from promptrank.runs.outputs import check_output

REPOSITORY = builtin_root()
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PROMPTRANK_OFFLINE": "1"}


def run(shell: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a shell line in which ``pr`` is promptrank."""
    pr = f'pr() {{ {sys.executable} -m promptrank "$@"; }}; '
    done = subprocess.run(
        ["bash", "-c", pr + shell],
        cwd=folder,
        env=BARE | environment,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


PIPED = "; exit ${PIPESTATUS[0]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("pr ls | true" + PIPED, 0, ""),
        ("pr schema | head -1 >/dev/null" + PIPED, 0, ""),
        ("pr ls >&-", 0, ""),
        ("pr ls <&- >&- 2>&-", 0, ""),
        ("pr ls >/dev/full", 75, "error: standard output: No space left on device; free some"),
        ("pr rank nope -o a.parquet 2>/dev/full", 2, ""),
        ("pr schema -o /dev/stdout", 2, "write to a file that ends in .json"),
        ("mkdir a.json; pr schema -o a.json", 2, "a.json: is a folder; name a file"),
        ("mkfifo f.json; pr schema -o f.json", 2, "f.json: is a device or a pipe"),
        ("touch f; pr ls --project f", 2, "f is a file; give a folder that holds tasks/"),
        ("pr ls --project '~nouser/x'", 2, "~nouser/x: ~nouser has no home folder"),
        ("pr schema -o $(printf 'a%.0s' {1..250}).json", 2, "the name is too long"),
        ("pr validate $(printf 'a%.0s' {1..300}).yaml", 2, "File name too long; choose a shorter"),
        ("pr validate $'caf\\xe9'", 2, "no such task"),
        ("pr validate nope", 2, "--project names another project"),
        ("pr validate nope.yaml", 2, "no such file in"),
        ("HOME=/nowhere pr pull smollm2-135m-instruct", 2, "is not in the cache (/nowhere/"),
        ("TMPDIR=/nowhere pr ls >/dev/null", 0, ""),
        ("COLUMNS=0 TERM= pr ls >/dev/null", 0, ""),
    ],
)
def test_a_command_ends_with(line: str, code: int, says: str, tmp_path: Path) -> None:
    ended, _, stderr = run(line, tmp_path)
    assert (ended, "Traceback" in stderr) == (code, False), stderr
    assert says in stderr
    assert stderr.count("\n") <= (6 if "Usage" in stderr else 1), stderr


@pytest.mark.long
def test_what_is_printed_into_a_pipe_is_utf8_in_every_locale(tmp_path: Path) -> None:
    project = tmp_path / "café ☕"
    (project / "tasks").mkdir(parents=True)
    (project / "tasks" / "t.yaml").write_text("", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, printed, _ = run("pr ls --project 'café ☕' | grep ^t", tmp_path, **plain)
    assert (code, "café ☕/tasks/t.yaml" in printed) == (0, True)
    ascii_only = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"}
    code, printed, _ = run("pr ls --project *", tmp_path, **ascii_only)
    assert (code, "caf\\xe9 \\u2615/tasks/t.yaml" in printed) == (0, True)
    code, _, said = run("pr validate $'caf\\xe9'", tmp_path)
    assert (code, said.startswith("error: caf\udce9: no such task")) == (2, True), said


@pytest.mark.long
def test_versions_are_printed_without_a_verb(tmp_path: Path) -> None:
    code, printed, _ = run("pr --version", tmp_path)
    assert code == 0
    first, second = printed.splitlines()
    assert first == f"promptrank {__version__}"
    assert {"python", "torch", "transformers"} <= {part.split()[0] for part in second.split(", ")}


@pytest.mark.long
@pytest.mark.parametrize("wait", [0.0, 0.03, 0.09])
def test_ctrl_c_ends_the_program_as_it_starts(wait: float, tmp_path: Path) -> None:
    code = (
        "import sys, promptrank.__main__ as program; sys.argv = ['promptrank', 'ls'];"
        "from time import sleep; import promptrank.api.tasks as t;"
        "t.ls = lambda project: sleep(20) or ();"
        "sys.stdout.write('.'); sys.stdout.flush();"
        "program.start()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=BARE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(wait + 0.12)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.decode() == "stopped; nothing was written; the same command starts over\n"


# -- error by error ----------------------------------------------------------------------------


class OutOfMemoryException(Exception):
    """As DuckDB calls it."""


class Library(RuntimeError):
    """Any library's own."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("x: no; do y"), 2, "error: x: no; do y"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            2,
            "error: a/b: Permission denied; choose another place, or change the permissions",
        ),
        (
            OSError(errno.ENOSPC, "whatever Arrow says"),
            75,
            "error: a file: No space left on device; free some space, or choose a place on another "
            "disk",
        ),
        (MemoryError(), 75, "error: out of memory; try fewer requests with --limit, shorter"),
        (OutOfMemoryException("1 GB"), 75, "error: out of memory (1 GB); try fewer requests"),
        (ValueError("embedded null byte"), 2, "error: a path holds a NUL character"),
        (Library("IO: x.db: No space left on device"), 75, "error: IO: x.db: No space left on"),
        ("é".encode("latin-1"), 2, "error: a text is not UTF-8"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written; the same command starts over"),
        (KeyError("x"), 1, f"promptrank {__version__} met a fault of its own: KeyError: 'x'"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), 1, "promptrank"),
    ],
)
def test_an_error_has_a_code_and_a_sentence(
    error: Exception | bytes, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if isinstance(error, bytes):
        with pytest.raises(UnicodeDecodeError) as caught:
            error.decode()
        error = caught.value
    end = ending(error)
    assert end.code == code
    assert end.words is not None and end.words.startswith(words)
    reports = list(tmp_path.iterdir())
    assert len(reports) == (code == 1)
    for report in reports:
        assert str(report) in end.words
        assert type(error).__name__ in report.read_text(encoding="utf-8")


def test_a_pipe_of_our_own_that_breaks_is_no_good_end() -> None:
    assert ending(BrokenPipeError(errno.EPIPE, "Broken pipe")).code == 1


def test_training_is_told_what_takes_less_memory() -> None:
    assert "--micro 1" in str(ending(MemoryError(), words=["train"]).words)


def test_whoever_stops_work_is_told_how_to_go_on() -> None:
    with pytest.raises(RuntimeError) as caught, if_stopped("outer"), if_stopped("inner"):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None  # as DuckDB has it
    assert how_to_go_on(caught.value) == "inner"
    end = ending(caught.value, stopped=True)
    assert (end.code, end.words) == (130, "stopped; inner")
    with pytest.raises(KeyboardInterrupt) as before, if_stopped("x"):
        raise KeyboardInterrupt
    leaving = SystemExit(130)
    leaving.__context__ = before.value  # as typer does
    assert ending(leaving).words == "stopped; x"


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("rank books/like --run runs/a", GOES_ON),
        ("--debug rank books/like --run=runs/a", GOES_ON),
        ("rank books/like -oa.parquet", GOES_ON),
        ("eval books/like --out a.html", GOES_ON),
        ("eval books/like", "nothing was written; the same command starts over"),
        ("ls", "nothing was written; the same command starts over"),
        ("", "nothing was written; the same command starts over"),
        ("train books/like --adapter a", "what is finished stays; the same command begins again"),
    ],
)
def test_whoever_stops_a_command_as_it_starts_is_told_nothing_false(words: str, how: str) -> None:
    """An earlier start may have left what this one would go on with."""
    assert ending(KeyboardInterrupt(), words=words.split()).words == f"stopped; {how}"


def test_a_full_disk_says_how_work_goes_on() -> None:
    with pytest.raises(OSError) as caught, if_stopped("the same command goes on where it was"):
        raise OSError(errno.ENOSPC, "No space left on device", "run/run.json")
    assert ending(caught.value).words == (
        "error: run/run.json: No space left on device; free some space, or choose a place on "
        "another disk; then the same command goes on where it was"
    )


def test_exit_codes_of_verbs_stay() -> None:
    assert [ending(SystemExit(code)).code for code in (None, 0, 2)] == [0, 0, 2]


# -- paths and outputs -------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with pytest.raises(OSError) as caught, beside(out), Path("/dev/full").open("wb", 0) as full:
        full.write(b"x")
    end = ending(caught.value)
    assert end.words is not None and end.words.startswith(f"error: {out}: No space left")


def test_a_part_is_told_by_the_name_that_users_know(tmp_path: Path) -> None:
    out, part = tmp_path / "a.json", tmp_path / ".a.json.1.part"
    with pytest.raises(OSError) as caught, naming(out, part):
        raise PermissionError(errno.EACCES, "Permission denied", str(part))
    assert caught.value.filename == str(out)
    with pytest.raises(OSError) as caught, naming(out, part):
        raise PermissionError(errno.EACCES, "Permission denied", "elsewhere")
    assert caught.value.filename == "elsewhere"


def test_a_user_that_nobody_knows_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``docker run --user 12345``; a folder called ``~`` is not made."""

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "PROMPTRANK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ModelError, match="set PROMPTRANK_CACHE to a folder"):
        resolve_model("smollm2-135m-instruct", offline=True)
    assert all(known.path is None for known in pull_names())


def test_names_that_no_file_can_have() -> None:
    with pytest.raises(InputError, match="NUL"):
        expanded("a\0b")
    with pytest.raises(InputError, match="at most 255 bytes"):
        expanded("there/" + "é" * 128)
    assert expanded("there/" + "é" * 127) == Path("there") / ("é" * 127)
    assert expanded("~/x") == Path.home() / "x"


def test_an_input_is_not_written_over_under_another_name(tmp_path: Path) -> None:
    given = tmp_path / "requests.jsonl"
    given.write_text("{}", encoding="utf-8")
    (tmp_path / "link.jsonl").symlink_to(given)
    (tmp_path / "hard.jsonl").hardlink_to(given)
    for name in ("requests.jsonl", "requests.parquet", "link.jsonl", "hard.jsonl"):
        with pytest.raises(InputError, match="would overwrite"):
            check_output(tmp_path / name, (".parquet", ".jsonl"), [given])


@pytest.mark.long
def test_every_text_file_is_opened_as_utf8() -> None:
    """In another locale Python would take that locale's encoding."""
    found = []
    for folder in ("promptrank", "bench"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _takes_the_locale(node):
                    found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}")
    assert found == []


def _takes_the_locale(call: ast.Call) -> bool:
    names = {keyword.arg: keyword.value for keyword in call.keywords}
    if isinstance(text := names.get("text"), ast.Constant) and text.value is True:
        return True  # subprocess
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
        return "encoding" not in names
    if name not in ("open", "fdopen", "NamedTemporaryFile") or "encoding" in names:
        return False
    first = [a.value for a in [*call.args, *names.values()] if isinstance(a, ast.Constant)]
    modes = [v for v in first if isinstance(v, str) and set(v) <= set("rwabxt+") and v]
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if (owner in ("os", "tempfile") and name == "open") or any("b" in mode for mode in modes):
        return False
    plain_open = isinstance(call.func, ast.Name) or owner not in ("archive", "lgb", "wheel")
    return plain_open and (bool(modes) or not call.args)
