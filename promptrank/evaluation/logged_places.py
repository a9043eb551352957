"""Places of a log: which candidate stood where, how probable that was, and what came of it."""

from __future__ import annotations  # array[int] is a type only for the checker

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.basics.plurals import counted
from promptrank.errors import DataError
from promptrank.evaluation.labelled import Label
from promptrank.records import Candidate, Request
from promptrank.scores.scores import Key, Scores

MOST_LOST = 0.5
"""A ranker may lack a score in this share of the requests."""


@dataclass(frozen=True, slots=True)
class LoggedPlaces:
    """Requests with all their candidates, and the logged places among them; arrays are aligned.

    A *logged place* is a candidate with a propensity and a label. Candidates that the log did not
    show are there too, because a ranker may put them first.

    Attributes:
        request: (candidates,) dense code of the request, ascending.
        subject: (requests,) dense code of the subject.
        subject_ids: (subjects,)
        row: (places,) index of the place's candidate.
        position: (places,) 1 = top.
        propensity: (places,) probability that the log showed this candidate there, in (0, 1].
        reward: (places,) the label's value.
        left_out: requests that were lost: a candidate is missing or has no score by some ranker, or
            a place has no position of its own.
    """

    request: Codes
    subject: Codes
    subject_ids: Sequence[str]
    row: Codes
    position: Codes
    propensity: Floats
    reward: Floats
    left_out: int = 0

    def __post_init__(self) -> None:
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise DataError("logged places: a propensity is not above 0 and at most 1")
        if (self.position < 1).any():
            raise DataError("logged places: a position is below 1; the top is 1")

    @property
    def place_request(self) -> Codes:
        """(places,) code of the request."""
        return self.request[self.row]

    @property
    def place_subject(self) -> Codes:
        """(places,) code of the subject."""
        return self.subject[self.place_request]


def logged_places(
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    gain_of: Label,
    watch: Callable[[Request], None] = lambda request: None,
) -> tuple[LoggedPlaces, dict[str, Floats], Flags] | str | None:
    """The logged places of these requests, and each ranker's scores of all candidates there.

    None of a log without propensities; a text says why a log that has some cannot be used.

    Args:
        watch: is shown every request whose candidates are counted, once.

    A ranker that scores less than half of the requests whole, such as a log that kept the scores of
    what it showed alone, is left out of what comes back.

    Returns:
        The places; ranker -> (candidates,) without NaN; and which candidates of the requests that
        ``watch`` saw were kept.
    """
    taken = _Taken()
    for each in requests:
        problem = taken.add(each, gain_of, watch)
        if problem is not None:
            return problem
    if not taken.logs:
        return None
    if not taken.subject and taken.left_out:
        count = counted(taken.left_out, "request")
        return (
            f"of {count} with logged places none can be used: a candidate was lost (a propensity "
            "of 0 or above 1 loses it), or its positions are missing or stand twice"
        )
    said = {name: theirs.at("score", theirs.rows(taken.keys)) for name, theirs in scores.items()}
    request = np.array(taken.request, dtype=np.int64)
    lost = np.zeros(len(taken.subject), dtype=np.bool_)
    for name, values in list(said.items()):
        without = np.zeros_like(lost)
        without[request[np.isnan(values)]] = True
        if without.any() and without.mean() > MOST_LOST:
            del said[name]  # and not the requests of all others
        else:
            lost |= without
    if lost.all() or not said:
        return (
            "no request has both a logged place with a label and a score of every candidate by "
            "every ranker"
        )
    keep = ~lost[request]
    return taken.places(request, lost), {n: values[keep] for n, values in said.items()}, keep


@dataclass(slots=True)
class _Taken:
    """What was read so far."""

    logs: bool = False  # whether there was any propensity
    left_out: int = 0
    keys: list[Key] = field(default_factory=list)
    subject_codes: dict[str, int] = field(default_factory=dict)
    request: array[int] = field(default_factory=lambda: array("q"))
    subject: array[int] = field(default_factory=lambda: array("q"))
    row: array[int] = field(default_factory=lambda: array("q"))
    position: array[int] = field(default_factory=lambda: array("q"))
    propensity: array[float] = field(default_factory=lambda: array("d"))
    reward: array[float] = field(default_factory=lambda: array("d"))

    def add(self, request: Request, gain_of: Label, watch: Callable[[Request], None]) -> str | None:
        """Take in a request; a text is why the whole log is of no use."""
        shown = [(i, c) for i, c in enumerate(request.candidates) if c.propensity is not None]
        if not shown:
            return None
        self.logs = True
        if request.meta.get("negatives"):
            return "its requests hold sampled negatives, which the log could not have shown"
        gains = [(i, c, gain) for i, c in shown if (gain := gain_of(c)) is not None]
        if not gains:
            return None
        positions = _positions([c for _, c in shown])
        if positions is None or request.meta.get("partial"):
            self.left_out += 1
            return None
        watch(request)
        first, number = len(self.keys), len(self.subject)
        self.keys += [(request.request_id, c.candidate_id) for c in request.candidates]
        self.request.extend([number] * len(request.candidates))
        name = request.subject.subject_id or f"request {request.request_id}"
        self.subject.append(self.subject_codes.setdefault(name, len(self.subject_codes)))
        for i, candidate, gain in gains:
            self.row.append(first + i)
            self.position.append(positions[candidate.candidate_id])
            self.propensity.append(candidate.propensity or 0.0)
            self.reward.append(float(gain))
        return None

    def places(self, request: Codes, lost: Flags) -> LoggedPlaces:
        """All but those of the requests that are lost, with dense codes."""
        keep = ~lost[request]
        row = np.array(self.row, dtype=np.int64)
        held = keep[row]
        of_request = np.array(self.subject, dtype=np.int64)[~lost]
        subjects, subject = np.unique(of_request, return_inverse=True)
        names = list(self.subject_codes)
        return LoggedPlaces(
            (np.cumsum(~lost) - 1)[request[keep]],
            subject,
            [names[code] for code in subjects],
            (np.cumsum(keep) - 1)[row[held]],
            np.array(self.position, dtype=np.int64)[held],
            np.array(self.propensity)[held],
            np.array(self.reward)[held],
            self.left_out + int(lost.sum()),
        )


def _positions(shown: Sequence[Candidate]) -> dict[str, int] | None:
    """Where each stood, all different and from 1 on; a lone one without a position was the top."""
    if len(shown) == 1 and shown[0].position is None:
        return {shown[0].candidate_id: 1}
    positions = [c.position for c in shown if c.position is not None and c.position >= 1]
    if len(set(positions)) < len(shown):
        return None
    return {c.candidate_id: at for c, at in zip(shown, positions, strict=True)}
