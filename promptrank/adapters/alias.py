"""Aliases: ``movies@prod`` stands for an adapter, can be moved, and can be rolled back.

``adapters/aliases.json`` keeps everything that was done to each alias, oldest first; nothing is
removed from it. Where an alias points follows from that: setting it puts a target on top of a
stack, rolling back takes the top one off. So two rollbacks go two steps back, and a rollback never
leads to a target that was rolled back before.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from promptrank.basics.owner import owned
from promptrank.basics.seals import read_kept, write_sealed
from promptrank.errors import InputError, ModelError

ALIASES = "aliases.json"
_PATIENCE = 60.0  # seconds: a change takes milliseconds, so many writers come through one by one
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class AliasStep:
    """One thing done to an alias.

    Attributes:
        at: ISO 8601, UTC.
        target: name or path of the adapter it was set to; None for a rollback.
        digest: of the target's files at that time.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    at: str
    target: str | None = None
    digest: str | None = None


_AGAIN = "mend it, or remove it and set the aliases again"


def is_alias(name: str) -> bool:
    """Whether a name is written as an alias is: ``movies@prod``."""
    return _ALIAS.fullmatch(name) is not None


def read_aliases(adapters: Path) -> dict[str, tuple[AliasStep, ...]]:
    """Every alias of an ``adapters/`` folder with its history.

    Raises:
        ModelError: the file is not one that promptrank wrote.
    """
    path = adapters / ALIASES
    if not path.exists():
        return {}
    steps = dict[str, tuple[AliasStep, ...]]
    return read_kept(path, steps, what="a file of aliases", error=ModelError, then=_AGAIN)


def current(steps: tuple[AliasStep, ...]) -> AliasStep | None:
    """Where an alias points after all that was done to it; None if nowhere."""
    stack = _stack(steps)
    return stack[-1] if stack else None


def set_alias(adapters: Path, alias: str, target: str, digest: str) -> None:
    """Point an alias at an adapter; the caller has checked that it is there.

    Raises:
        InputError: no name of an alias.
    """
    if not is_alias(alias):
        raise InputError(f"{alias!r} is no alias; write NAME@LABEL, such as movies@prod")
    with owned(adapters / ALIASES, "adapters alias", wait=_PATIENCE):
        known = read_aliases(adapters)
        _write(adapters, known, alias, AliasStep(_now(), target, digest))


def rollback(adapters: Path, alias: str) -> AliasStep:
    """Point an alias at what it stood for before, and return that.

    Raises:
        InputError: no such alias, or nothing before.
    """
    with owned(adapters / ALIASES, "adapters rollback", wait=_PATIENCE):
        known = read_aliases(adapters)
        if alias not in known:
            raise InputError(f"no alias {alias!r}; aliases: {', '.join(sorted(known)) or 'none'}")
        stack = _stack(known[alias])
        if len(stack) < 2:
            now = stack[-1].target if stack else "nothing"
            raise InputError(f"{alias} stood for nothing before {now}; set it instead")
        _write(adapters, known, alias, AliasStep(_now()))
    return stack[-2]


def _stack(steps: tuple[AliasStep, ...]) -> list[AliasStep]:
    stack: list[AliasStep] = []
    for step in steps:
        if step.target is not None:
            stack.append(step)
        elif stack:
            stack.pop()
    return stack


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(
    adapters: Path, known: Mapping[str, tuple[AliasStep, ...]], alias: str, step: AliasStep
) -> None:
    after = {**known, alias: (*known.get(alias, ()), step)}
    plain = {
        name: [{k: v for k, v in asdict(s).items() if v is not None} for s in steps]
        for name, steps in sorted(after.items())
    }
    write_sealed(adapters / ALIASES, plain)
