"""What other rankers would have earned: the truth that off-policy estimates are held against."""

from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation.bayes import applies_within, wait
from promptrank.simulation.log import VIEW_AFTER, WINDOW, ShownJobs, lost_share
from promptrank.simulation.switches import Switches
from promptrank.simulation.utility import chances, looked_at
from promptrank.simulation.world import Jobs


@dataclass(frozen=True, slots=True)
class Recorded:
    """Chances by impression of what is recorded within the window.

    Attributes:
        apply: of an application.
        view: of a view, with an application or without.
    """

    apply: Floats
    view: Floats


def recorded_at(s: Switches, jobs: Jobs, log: ShownJobs, place: Codes) -> Recorded:
    """Had each impression stood at this place (1 = top), given all its utility, hidden parts too.

    What stands elsewhere in the slate does not matter to it: the item-position model holds here.
    """
    look, does = looked_at(s, place), chances(log.utility)
    seen = 1 - wait(s.delay / 4, np.array([float(WINDOW - VIEW_AFTER)]))[0]
    kept = (1 - lost_share(s, jobs, log.job)) * applies_within(s)
    return Recorded(look * does.apply * kept, look * (does.apply + does.view) * seen)
