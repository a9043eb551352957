"""What ``bench/students.py`` chooses from."""

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "students.py"


def test_it_says_when_no_student_is_quick_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the benchmark would set for good
    spec = importlib.util.spec_from_file_location("bench_students", BENCH)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    names = list(bench.WITHOUT)
    times = {**dict.fromkeys(names, 9.0), names[0]: 4.0}
    assert bench.quick_of(times) == names[:1]
    assert not capsys.readouterr().out
    assert bench.quick_of(dict.fromkeys(names, 9.0)) == names
    assert "no student with the teacher is under 5 ms" in capsys.readouterr().out
