"""Damaged and odd inputs, a fixed number for each surface; ``bench/fuzz.py`` gives more."""

import pytest

from support.fuzz.surfaces import SURFACES
from support.fuzz.watch import outcomes

# About a minute in all, on one core.
INPUTS = {
    "task": 60,
    "set": 120,
    "template": 60,
    "jsonl": 100,
    "csv": 30,
    "adapter": 80,
    "student": 60,
    "cache": 60,
    "run": 30,
}


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_an_input_is_taken_as_it_is_or_refused(surface: str) -> None:
    tried = list(outcomes(surface, 0, range(INPUTS[surface])))
    assert len(tried) == INPUTS[surface]
    assert not [str(outcome) for outcome in tried if outcome.fault]
    # Both happen, so that the inputs are neither all harmless nor all refused for one reason. What
    # is damaged in a stopped run or a score cache is scored again, never refused.
    both = {"taken"} if surface in ("cache", "run") else {"taken", "refused"}
    assert {outcome.kind for outcome in tried} == both
