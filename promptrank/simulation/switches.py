"""What can be switched in the jobs marketplace."""

from dataclasses import dataclass
from typing import Literal, get_args

from promptrank.errors import InputError

Rule = Literal["both", "location", "licence", "none"]
LostAt = Literal["all", "company_site"]
REGIONS = ("north", "east", "south", "west", "centre", "coast")
DAYS = 56
"""Requests come on days 0 to 55; actions are logged for eight days more."""


@dataclass(frozen=True, slots=True)
class Switches:
    """Every switch; equal switches give equal tables.

    A switch changes what it names and nothing else: people, jobs and slates of one seed stay.

    Attributes:
        members: how many.
        seed: of all draws.
        position_bias: place k is looked at with probability k ** -position_bias; 0: always.
        delay: mean days between seeing a job and applying; 0: within minutes.
        false_negatives: share of applications that no log ever records.
        lost_at: where those are lost; ``company_site``: only jobs that are applied for there.
        hidden: share of the utility's variance that nothing observable explains.
        affinity: share that a number explains, logged as ``affinity``, which no text shows.
        drift: day from which members look for a lower level than theirs, not a higher; None: never.
        cold: share of members who sign up in the last two weeks.
        bad_match: which mismatches make a bad match.
        regions: number of regional markets.
        flip: region where the preference for remote work is turned around; None: nowhere.
        noise: share of grades and verdicts of judges that are one step off.
    """

    members: int = 1000
    seed: int = 0
    position_bias: float = 0.3
    delay: float = 1.0
    false_negatives: float = 0.1
    lost_at: LostAt = "all"
    hidden: float = 0.1
    affinity: float = 0.1
    drift: int | None = None
    cold: float = 0.1
    bad_match: Rule = "both"
    regions: int = 4
    flip: str | None = "west"
    noise: float = 0.05

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions, each a market of its own."""
        return REGIONS[: self.regions]


def check(switches: Switches) -> Switches:
    """The switches themselves.

    Raises:
        InputError: with one line for each that is out of range.
    """
    s = switches
    ranges: dict[str, tuple[float, float, float]] = {
        "members": (s.members, 20, 1_000_000),
        "seed": (s.seed, 0, 2**63),
        "position_bias": (s.position_bias, 0, 3),
        "delay": (s.delay, 0, 30),
        "false_negatives": (s.false_negatives, 0, 0.45 if s.lost_at == "company_site" else 0.9),
        "hidden": (s.hidden, 0, 0.9),
        "affinity": (s.affinity, 0, 0.9),
        "hidden + affinity": (s.hidden + s.affinity, 0, 0.9),
        "drift": (DAYS // 2 if s.drift is None else s.drift, 1, DAYS - 1),
        "cold": (s.cold, 0, 0.9),
        "regions": (s.regions, 1, len(REGIONS)),
        "noise": (s.noise, 0, 0.5),
    }
    problems = [
        f"{name}: {value} is not between {low:g} and {high:g}"
        for name, (value, low, high) in ranges.items()
        if not low <= value <= high
    ]
    words: dict[str, tuple[str, tuple[str, ...]]] = {
        "lost_at": (s.lost_at, get_args(LostAt)),
        "bad_match": (s.bad_match, get_args(Rule)),
        "flip": (s.flip or s.region_names[0], s.region_names),
    }
    problems += [
        f"{name}: no {value!r}; one of {', '.join(known)}"
        for name, (value, known) in words.items()
        if value not in known
    ]
    if problems:
        raise InputError("\n".join(problems))
    return switches
