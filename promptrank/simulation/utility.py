"""How much a member wants a job, and what follows: the whole behavioural model.

    T = 4.2 overlap - 0.8 min(|gap - step|, 2.5) + 1.6 [kind = taste] + 0.9 mode + 0.3 hours - bad
    U = k (T - centre) + S (sqrt(affinity) a + sqrt(hidden) h),    k = sqrt(1 - affinity - hidden)

    P(look) = place ** -position_bias      P(view | look) = sigmoid(VIEW + U / 2)
    P(apply | view) = sigmoid(APPLY + U)   P(dismiss | look, no view) = sigmoid(DISMISS - U / 2)

``overlap`` is the share of the job's skills that the member has; ``gap`` the job's level minus the
member's, and ``step`` the gap that members like best (0.5; after the drift -1); ``mode`` 1, 0, -1
for remote, hybrid, on site (turned around in the flipped region); ``hours`` 1 for day work, -1 for
shifts; ``bad`` a bad match; ``a`` and ``h`` are standard normal, drawn for each impression by
itself.
"""

from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation import words
from promptrank.simulation.draws import Bools, sigmoid
from promptrank.simulation.switches import Switches
from promptrank.simulation.world import DAY, START, Jobs, Members, version

OVERLAP, GAP, TASTE, MODE, HOURS, BAD = 4.2, 0.8, 1.6, 0.9, 0.3, 1.0
STEP, STEP_AFTER = 0.5, -1.0
"""The gap in level that members like best, before and after the drift."""
CENTRE, SPREAD = -0.4, 1.8
"""About the mean of T in the default marketplace, and S, about its standard deviation."""
VIEW, APPLY, DISMISS = 0.3, -0.9, -0.8
_MODE_SIGN = np.array([-1.0, 0.0, 1.0])  # on site, hybrid, remote
_HOURS_SIGN = np.array([1.0, -1.0])
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, slots=True)
class Pairs:
    """A member beside a job at a time: everything observable that matters, and truth of the rule.

    Attributes:
        known: T without the taste's part.
        kind: the company's kind, to be compared with the taste.
        location, licence: whether the rule is broken there.
    """

    known: Floats
    kind: Codes
    location: Bools
    licence: Bools
    bad: Bools


def pairs(
    s: Switches, members: Members, jobs: Jobs, member: Codes, job: Codes, time: Codes
) -> Pairs:
    """The pairs (member[i], job[i]) as they were at time[i]."""
    of_member = member, version(members.changed, member, time)
    of_job = job, version(jobs.changed, job, time)
    wanted = jobs.skills[of_job]
    overlap = (wanted & members.skills[of_member]).sum(1) / wanted.sum(1)
    gap = jobs.level[of_job] - members.level[of_member]
    remote = jobs.mode[of_job] == words.MODES.index("remote")
    location = ~remote & (jobs.city[job] != members.city[member])
    holds = members.licensed[member] & (members.field[member] == jobs.field[job])
    licence = jobs.licence[job] & ~holds
    bad = (location & (s.bad_match in ("both", "location"))) | (
        licence & (s.bad_match in ("both", "licence"))
    )
    mode, hours = _MODE_SIGN[jobs.mode[of_job]], _HOURS_SIGN[jobs.hours[of_job]]
    step = np.full(len(gap), STEP)
    if s.flip is not None:
        flipped = members.region[member] == s.region_names.index(s.flip)
        mode = np.where(flipped, -mode, mode)
    if s.drift is not None:
        step[time >= START + s.drift * DAY] = STEP_AFTER
    known = OVERLAP * overlap - GAP * np.minimum(np.abs(gap - step), 2.5)
    known = known + MODE * mode + HOURS * hours - BAD * bad
    return Pairs(known, jobs.kind[job], location, licence, bad)


def utility(s: Switches, text: Floats, affinity: Floats | float, hidden: Floats | float) -> Floats:
    """U from T, the logged affinity and the hidden part."""
    scale = np.sqrt(1 - s.hidden - s.affinity)
    beyond_text = SPREAD * (np.sqrt(s.affinity) * affinity + np.sqrt(s.hidden) * hidden)
    return np.asarray(scale * (text - CENTRE) + beyond_text)


@dataclass(frozen=True, slots=True)
class Chances:
    """What a member who looks does: ``view`` is viewing without applying."""

    apply: Floats
    view: Floats
    dismiss: Floats
    nothing: Floats

    @staticmethod
    def mix(first: "Chances", second: "Chances", share: Floats) -> "Chances":
        """``share`` of the second, the rest of the first."""
        a, b = first, second
        return Chances(
            a.apply + share * (b.apply - a.apply),
            a.view + share * (b.view - a.view),
            a.dismiss + share * (b.dismiss - a.dismiss),
            a.nothing + share * (b.nothing - a.nothing),
        )


def chances(u: Floats) -> Chances:
    """Chances of somebody who looks, given U."""
    view = sigmoid(VIEW + u / 2)
    apply = view * sigmoid(APPLY + u)
    dismiss = (1 - view) * sigmoid(DISMISS - u / 2)
    return Chances(apply, view - apply, dismiss, 1 - view - dismiss)


def expected_chances(u: Floats, spread: float) -> Chances:
    """The same with normal noise of this standard deviation on U, by Gauss-Hermite quadrature."""
    if spread == 0:
        return chances(u)
    total = [np.zeros_like(u) for _ in range(4)]
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        at = chances(u + spread * node)
        for sum_, part in zip(total, (at.apply, at.view, at.dismiss, at.nothing), strict=True):
            sum_ += weight * part
    return Chances(*total)


def looked_at(s: Switches, place: Codes) -> Floats:
    """Probability that somebody looks at a place (1 = top)."""
    return np.asarray(place.astype(np.float64) ** -s.position_bias)
