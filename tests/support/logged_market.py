"""A simulated log as logged places, with what other orders of its lists would have earned."""

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.evaluation.logged_places import LoggedPlaces
from promptrank.simulation.earned import recorded_at
from promptrank.simulation.log import WINDOW, make_impressions
from promptrank.simulation.switches import Switches
from promptrank.simulation.world import make_jobs, make_members


class Market:
    """A simulated log as `LoggedPlaces`, three rankers, and the truth about any order."""

    def __init__(self, s: Switches) -> None:
        self.s, members = s, make_members(s)
        self.jobs = make_jobs(s)
        self.log = log = make_impressions(s, members, self.jobs)
        applied = log.seen_by() <= log.time + WINDOW
        viewed = log.viewed <= log.time + WINDOW
        first = np.flatnonzero(np.diff(log.request, prepend=-1))
        self.places = LoggedPlaces(
            log.request,
            log.member[first],
            [str(i) for i in range(s.members)],
            np.arange(len(log.request)),
            log.place,
            log.propensity,
            0.8 * applied + 0.2 * viewed,
        )
        self.rankers: dict[str, Floats] = {
            "logged": log.logged,
            "text": log.pairs.known,
            "worst": -log.utility,
        }

    def order(self, scores: Floats) -> Codes:
        """The place of each impression."""
        order = np.lexsort((-scores, self.log.request))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.tile(np.arange(1, 9), len(order) // 8)
        return place

    def earned(self, place: Codes) -> float:
        """Gain per request with certainty about everything but chance."""
        chances = recorded_at(self.s, self.jobs, self.log, place)
        return float((0.8 * chances.apply + 0.2 * chances.view).sum() / len(self.places.subject))
