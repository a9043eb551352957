"""Policy steps of a task: what changes a ranking after it was scored."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from promptrank.schema.strict import Strict

Expression = Annotated[str, Field(min_length=1, max_length=2000)]
"""Over a candidate's fields, as a slice's: ``item.stock > 0``, ``'Drama' in item.genres``."""

STAGES = {"filter": 0, "boost": 0, "diversify": 1, "cap": 2, "pin": 3, "explore": 4}
"""Kind of step -> where it stands among the others: each would undo what a later one did."""
MOST_DRAWN = 10
"""Candidates whose places are drawn one after another: propensities sum over their subsets."""


class Filter(Strict):
    """Takes candidates out of the ranking."""

    keep: Expression | None = Field(
        None, description="Expression over fields; candidates for which it does not hold are out."
    )
    drop: Expression | None = Field(
        None, description="Expression over fields; candidates for which it holds are out."
    )

    @model_validator(mode="after")
    def _keep_or_drop(self) -> "Filter":
        if (self.keep is None) == (self.drop is None):
            raise ValueError("give exactly one of keep and drop")
        return self


class Boost(Strict):
    """Changes the score of candidates for which an expression holds."""

    where: Expression = Field(description="Expression over fields.")
    add: float | None = Field(
        None, ge=-1e9, le=1e9, description="Added to the score, in the score's own unit."
    )
    multiply: float | None = Field(
        None, gt=0, le=1e9, description="Factor of the score, for scores that are never below 0."
    )

    @model_validator(mode="after")
    def _add_or_multiply(self) -> "Boost":
        if (self.add is None) == (self.multiply is None):
            raise ValueError("give exactly one of add and multiply")
        return self


class Cap(Strict):
    """At most so many candidates of one value."""

    by: Expression = Field(
        description="Field, such as item.brand, or an expression over fields; a list counts for "
        "each of its values, and what has no value is not capped."
    )
    most: int = Field(gt=0, description="Candidates of one value.")
    first: int | None = Field(
        None,
        gt=0,
        description="Within so many places: what is too many stands below them. Where left out, "
        "what is too many is taken out.",
    )


class Diversify(Strict):
    """Fills the first places with candidates that score high and differ from each other."""

    by: Expression = Field(
        description="Field or expression: a list of numbers is a vector (an embedding), other "
        "values are one-hot, and a list of words has one for each."
    )
    split: str | None = Field(
        None, min_length=1, description='Parts texts into several values: `split: ","`.'
    )
    strategy: Literal["mmr", "msd", "dpp", "ssd"] = Field(
        "mmr",
        description="Maximal marginal relevance, max-sum distance, determinantal point process, or "
        "sliding spectrum decomposition, by pyversity.",
    )
    diversity: float = Field(0.5, ge=0, le=1, description="0 is the order of scores alone.")
    first: int = Field(10, gt=0, le=100, description="Places that are filled so.")


class Pin(Strict):
    """Puts candidates at a place."""

    where: Expression = Field(description="Expression over fields.")
    place: int = Field(1, gt=0, description="1 is the top; several stand one below the other.")
    most: int | None = Field(None, gt=0, description="So many at most, the best ones.")


class Explore(Strict):
    """Draws the order of the first places at random, with the exact probability of each place."""

    first: int = Field(ge=2, le=1000, description="Places whose candidates may change places.")
    epsilon: float | None = Field(
        None, gt=0, le=1, description="Share of requests whose first places are shuffled."
    )
    temperature: float | None = Field(
        None,
        gt=0,
        description="Candidates are drawn for one place after another, in proportion to "
        f"exp(score / temperature) (Plackett-Luce); first is at most {MOST_DRAWN}.",
    )
    salt: str = Field(
        "", max_length=200, description="Text that goes into the draw beside the request's id."
    )

    @model_validator(mode="after")
    def _design(self) -> "Explore":
        if (self.epsilon is None) == (self.temperature is None):
            raise ValueError("give exactly one of epsilon and temperature")
        if self.temperature is not None and self.first > MOST_DRAWN:
            raise ValueError(
                f"first: {self.first} with temperature; propensities are exact up to {MOST_DRAWN}: "
                "lower it, or give epsilon"
            )
        return self


class PolicyStep(Strict):
    """One step, named by its only key."""

    filter: Filter | None = None
    boost: Boost | None = None
    diversify: Diversify | None = None
    cap: Cap | None = None
    pin: Pin | None = None
    explore: Explore | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "PolicyStep":
        given = [name for name in STAGES if getattr(self, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(STAGES)
            raise ValueError(
                f"give exactly one of {kinds} (there is {' and '.join(given) or 'none'})"
            )
        return self

    @property
    def kind(self) -> str:
        """Its only key."""
        return next(name for name in STAGES if getattr(self, name) is not None)

    @property
    def options(self) -> Strict:
        """What stands under its key."""
        options: Strict = getattr(self, self.kind)
        return options


def step_place(number: int, step: PolicyStep, key: str = "") -> str:
    """Where it stands in the file: ``steps.0.filter.keep``."""
    return f"steps.{number}.{step.kind}" + (f".{key}" if key else "")


def problems_of_steps(steps: list[PolicyStep], *, below_zero: str | None) -> Iterator[str]:
    """Steps that would undo each other, and factors of scores that have none.

    Args:
        below_zero: why the task's score can be below 0; None where it cannot.
    """
    for number, step in enumerate(steps):
        where = step_place(number, step)
        before = next((s for s in steps[:number] if STAGES[s.kind] > STAGES[step.kind]), None)
        if before is not None:
            yield (
                f"{where}: stands after {before.kind}, and would undo what that did; the order is "
                "filter and boost, then diversify, cap, pin, and explore last"
            )
        if step.boost is not None and step.boost.multiply is not None and below_zero is not None:
            yield f"{where}.multiply: {below_zero}, which a factor would turn around; use add"
        if step.explore is None:
            continue
        if any(other.explore is not None for other in steps[:number]):
            yield f"{where}: propensities are those of one draw; leave one explore step"
        for at, other in enumerate(steps[:number]):
            if other.cap is not None and (other.cap.first or step.explore.first) < (
                step.explore.first
            ):
                yield (
                    f"{where}.first: moves what {step_place(at, other)} put below the first "
                    f"{other.cap.first} places; at most {other.cap.first} here"
                )
