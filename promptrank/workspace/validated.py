"""What checks of a task have found."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Validated:
    """What was found: a task is fine where ``problems`` is empty.

    Attributes:
        facts: what the checks saw, for a person to agree with.
        warnings: what works and is probably not meant.
        problems: what would keep a run from working, each with what to do.
    """

    task: str
    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
