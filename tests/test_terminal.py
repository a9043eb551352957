"""What a person sees: progress, tables, and nothing that is of no use."""

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from promptrank.basics.quiet import no_library_bars
from promptrank.cli.main import app
from promptrank.cli.progress import BarSteps, LogSteps, Pace, about, rate_words, spent
from promptrank.cli.terminal import columns, print_table, progress_bar
from promptrank.errors import InputError
from support.toys import make_project


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_slow_first_step_and_resumed_ones_do_not_count() -> None:
    pace = Pace()
    pace.add(0, 900)  # an earlier run did these
    pace.add(600, 901)  # loading, warming up
    for step in range(1, 21):
        pace.add(600 + 2 * step, 901 + step)
    assert pace.rate == pytest.approx(0.5)
    assert pace.words(921, 1000, "steps") == "30 steps a minute, 3 min left"


def test_only_the_last_half_minute_counts() -> None:
    pace = Pace()
    for second in range(100):
        pace.add(second, second)
    for second in range(1, 41):
        pace.add(99 + second, 99 + 10 * second)
    assert pace.rate == pytest.approx(10)


def test_steps_longer_than_the_window_are_timed_by_the_last_of_them() -> None:
    pace = Pace()
    for step, now in enumerate((0, 50, 100, 400)):
        pace.add(now, step)
    assert pace.rate == pytest.approx(1 / 300)


def test_nothing_is_said_of_time_before_two_moments_can_be_compared() -> None:
    pace = Pace()
    pace.add(0, 0)
    pace.add(30, 8)
    pace.add(30.01, 16)  # the same batch of answers
    assert pace.rate is None
    assert pace.words(16, 100, "requests") == ""
    pace.add(38, 24)
    assert pace.rate == pytest.approx(1)


@pytest.mark.long
@given(
    st.lists(st.tuples(st.floats(0.2, 1e4), st.integers(1, 50)), min_size=3, max_size=60),
    st.floats(0.01, 100),
)
def test_a_steady_pace_is_found_whatever_the_gaps(
    gaps: list[tuple[float, int]], rate: float
) -> None:
    pace = Pace()
    now, done = 0.0, 0
    pace.add(now, done)
    for _, steps in gaps:
        done += steps
        now += max(0.2, steps / rate)
        pace.add(now, done)
    slowest = min(rate, min(steps / max(0.2, steps / rate) for _, steps in gaps))
    assert pace.rate is not None
    assert slowest * 0.999 <= pace.rate <= rate * 1.001


def log(counts: list[tuple[float, int]], total: int | None) -> list[str]:
    """The lines of a pass: seconds and counts."""
    said: list[str] = []
    clock = Clock()
    steps = LogSteps("ranking", "requests", said.append, clock)
    for now, done in counts:
        clock.now = now
        steps(done, total)
    steps.close()
    return said


def test_a_log_has_a_line_for_each_tenth_and_one_in_the_end() -> None:
    said = log([(2.0 * done, done) for done in range(101)], 100)
    assert len(said) == 10
    assert said[0] == "ranking: 10 of 100 requests, 30 requests a minute, 3 min left"
    assert said[8] == "ranking: 90 of 100 requests, 30 requests a minute, 20 s left"
    assert said[9] == "ranking: 100 requests in 3 min 20 s"


def test_a_resumed_pass_begins_where_it_was() -> None:
    said = log([(0, 35), *((10.0 * (done - 35), done) for done in range(36, 101))], 100)
    assert said[0].startswith("ranking: 40 of 100 requests")
    assert said[-1] == "ranking: 65 requests in 10 min 50 s"
    assert log([(0, 100)], 100) == []


def test_where_the_total_is_not_known_a_line_comes_every_half_minute() -> None:
    said = log([(float(done), done) for done in range(100)], None)
    assert [line.split()[1] for line in said] == ["30", "60", "90", "99"]
    assert said[0] == "ranking: 30 requests, 1.0 requests a second"


@pytest.mark.long
@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(1, 40)), min_size=1, max_size=80),
    st.integers(0, 30),
)
def test_a_log_never_has_more_than_ten_lines(gaps: list[tuple[float, int]], start: int) -> None:
    counts, now, done = [(0.0, start)], 0.0, start
    for seconds, steps in gaps:
        now, done = now + seconds, done + steps
        counts.append((now, done))
    said = log(counts, done)
    assert len(said) <= 10
    assert said[-1].startswith(f"ranking: {done if start == 1 else done - start:,} request")
    tenths = [10 * int(line.split()[1].replace(",", "")) // done for line in said[:-1]]
    assert tenths == sorted(set(tenths))
    assert all(tenth >= 1 for tenth in tenths)


def test_passes_follow_each_other() -> None:
    said: list[str] = []
    clock = Clock()
    steps = LogSteps("ranking", "requests", said.append, clock)
    for _ in range(2):
        for done in range(11):
            clock.now += 0.01
            steps(done, 10)
    assert said == ["ranking: 10 requests in less than a second"] * 2


def test_what_is_broken_off_has_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar("ranking", "requests") as steps:
        steps(0, 10)
        steps(1, 10)
        raise KeyboardInterrupt
    with progress_bar("training", "steps") as steps:
        steps(0, 10)
        steps(4, 10)
    assert capsys.readouterr().err == "training: 4 steps in less than a second\n"


def test_a_terminal_has_one_line_that_moves_and_is_gone_in_the_end() -> None:
    said: list[str] = []
    clock, screen = Clock(), io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    steps = BarSteps("ranking", "requests", said.append, console, clock)
    for done in range(61):
        clock.now += 1
        steps(done, 60)
    steps.close()
    shown = screen.getvalue()
    assert "59 of 60 requests 1.0 requests a second, a few seconds left" in shown
    assert shown.count("\n") == 1
    assert said == ["ranking: 60 requests in 1 min 0 s"]


@pytest.mark.parametrize(
    ("seconds", "ahead", "behind"),
    [
        (0.2, "a few seconds", "less than a second"),
        (7, "a few seconds", "7 s"),
        (41, "40 s", "41 s"),
        (57, "1 min", "57 s"),
        (94, "2 min", "1 min 34 s"),
        (3599.7, "1 h 0 min", "1 h 0 min"),
        (5000, "1 h 23 min", "1 h 23 min"),
    ],
)
def test_times_in_words(seconds: float, ahead: str, behind: str) -> None:
    assert (about(seconds), spent(seconds)) == (ahead, behind)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1234.5, "1,234 requests a second"),
        (2.42, "2.4 requests a second"),
        (0.5, "30 requests a minute"),
        (0.1, "6.0 requests a minute"),
        (0.0999, "10 seconds a request"),
        (0.0021, "476 seconds a request"),
    ],
)
def test_rates_in_words(rate: float, words: str) -> None:
    assert rate_words(rate, "requests") == words


def test_a_table_in_a_pipe_is_data_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "very-long-name/" * 30 + "[1].yaml"
    print_table(columns(("task", "file"), [("toys/like", path), ("a", "b")]))
    assert capsys.readouterr().out == f"toys/like  {path}\na          b\n"


def test_a_table_on_a_terminal_has_a_head_and_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_table(columns(("task", "file"), [("toys/like", "x" * 60)]))
    shown = capsys.readouterr().out
    head, *rest = shown.splitlines()
    assert "task" in head and "file" in head
    assert len(rest) == 3  # the long name takes two lines more
    assert shown.count("x") == 60


@pytest.mark.long
def test_a_command_says_a_thing_once(toys: Path) -> None:
    words = ["eval", "toys/like", "--vs", "base", "--draws", "100", "--project", str(toys)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    told = [line for line in lines if not line.startswith("ranking: ")]
    assert len(told) == len(set(told))
    assert any(line.startswith("loading ") for line in told)


@pytest.mark.long
def test_libraries_draw_no_bars(tmp_path: Path, tiny_llama_path: Path) -> None:
    from transformers.utils import logging

    root = make_project(tmp_path / "toys", tiny_llama_path)
    where = ["--project", str(root)]
    student = ["--student", "decoder", "--loss", "direct", "--teacher", "base"]
    words = ["distill", "toys/like", "--name", "small", *student, *where]
    result = CliRunner().invoke(app, [*words, "--option", "layers=1", "--option", "epochs=1"])
    assert result.exit_code == 0, result.output
    assert "it/s" not in result.output
    assert "shards" not in result.output
    with no_library_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("words", [["--out", "a.html", "--out", "a.json"], ["-o", "a", "--out=b"]])
def test_two_outputs_of_one_command_are_refused(words: list[str]) -> None:
    ended = CliRunner().invoke(app, ["eval", "movies/like", *words])
    assert isinstance(ended.exception, InputError)
    assert "--out stands more than once" in str(ended.exception)
