"""A plan: the YAML file that says what ``rank --run`` ranks in one go, a run an entry."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from promptrank.errors import TaskError
from promptrank.schema.load import problems_of, read_yaml
from promptrank.schema.strict import Strict
from promptrank.schema.yaml_lines import key_lines, problem_line

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""What a run may be called: its folder bears the name."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PlannedRun(Strict):
    """One run of a plan; what it leaves out is as the command says."""

    task: str = Field(min_length=1, description="Name of a task, or path of its .yaml file.")
    name: str | None = Field(
        None, pattern=f"^{NAME}$", description="Its folder; the task's name where left out."
    )
    requests: str | None = Field(None, min_length=1, description="Request file. Else the tables.")
    split: Annotated[list[str] | None, BeforeValidator(_listed)] = Field(
        None, description="Only these parts: train, valid or test."
    )
    limit: int | None = Field(None, ge=1, description="At most this many requests, sampled.")
    adapter: str | None = Field(None, min_length=1, description="Name, alias or folder.")
    model: str | None = Field(None, min_length=1, description="The task's own where left out.")
    engine: str | None = Field(None, min_length=1, description="As of `rank --engine`.")
    threads: int | None = Field(None, ge=1, description="CPU threads.")
    device: str | None = Field(None, min_length=1, description="As of `rank --device`.")
    dtype: str | None = Field(None, min_length=1, description="As of `rank --dtype`.")
    allow_changed: bool | None = Field(None, description="As of `rank --allow-changed`.")
    set: dict[str, Any] = Field({}, description="Keys of the task that it overrides.")

    def given(self) -> dict[str, Any]:
        """The options that it states, under the names of `promptrank.rank`."""
        names = ("requests", "limit", "adapter", "model", "engine", "threads", "device", "dtype")
        stated = {name: getattr(self, name) for name in (*names, "allow_changed")}
        stated["splits"] = set_of(self.split)
        return {name: value for name, value in stated.items() if value is not None}

    @property
    def settings(self) -> list[str]:
        """What it overrides, as ``--set`` takes it."""
        return [f"{key}={json.dumps(value, default=str)}" for key, value in self.set.items()]


class RunPlan(Strict):
    """Runs in their order."""

    runs: list[PlannedRun] = Field(min_length=1, description="In the order they are ranked in.")


def set_of(names: Iterable[str] | None) -> "frozenset[str] | None":
    """The names as a set; None stays None."""
    return frozenset(names) if names is not None else None


def load_plan(path: Path) -> RunPlan:
    """The plan in a YAML file.

    Raises:
        TaskError: no YAML mapping, or one that is no plan; every problem with its line.
    """
    values = read_yaml(path, example="runs: [{task: movies/like}]")
    try:
        return RunPlan.model_validate(values)
    except ValidationError as error:
        raise TaskError(str(path), in_lines(path, problems_of(error, RunPlan))) from None


def in_lines(path: Path, problems: Iterable[str]) -> list[str]:
    """Problems of a plan, each with the line it is about: ``line 4: runs.1.limit: ...``."""
    lines = key_lines(path.read_text(encoding="utf-8-sig", errors="replace"))
    placed = []
    for problem in problems:
        line = problem_line(problem, lines)
        placed.append(f"line {line}: {problem}" if line is not None else problem)
    return placed
