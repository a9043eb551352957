"""What changed in a task since an adapter was trained on it."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promptrank.adapters.card import Prompting


@dataclass(frozen=True, slots=True)
class PromptChange:
    """One part of a task that has changed.

    Attributes:
        part: ``template`` or ``answers``.
        difference: lines of a unified diff, from then (-) to now (+).
    """

    part: str
    difference: tuple[str, ...]


def changes(then: Prompting, now: Prompting) -> tuple[PromptChange, ...]:
    """Parts whose fingerprints differ, with the difference for a person to read."""
    before, after = then.fingerprints, now.fingerprints
    changed = []
    if before["template"] != after["template"]:
        lines = [*_settings(then, now), *_sources(then.sources, now.sources)]
        changed.append(PromptChange("template", tuple(lines)))
    if before["answers"] != after["answers"]:
        lines = list(_diff("questions", _lines(then.answers), _lines(now.answers)))
        changed.append(PromptChange("answers", tuple(lines)))
    return tuple(changed)


def _settings(then: Prompting, now: Prompting) -> Iterator[str]:
    yield from _diff("settings", _lines(then.settings), _lines(now.settings))


def _sources(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for file in sorted({*then, *now}):
        yield from _diff(file, then.get(file, "").splitlines(), now.get(file, "").splitlines())


def _lines(values: Mapping[str, Any]) -> list[str]:
    """A line per leaf: ``like.answers.like.say: ["Yes"]``."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{name}.{line}" for line in _lines(value)]
        else:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _diff(what: str, then: list[str], now: list[str]) -> Iterator[str]:
    yield from difflib.unified_diff(
        then, now, f"{what} (trained on)", f"{what} (now)", n=1, lineterm=""
    )
