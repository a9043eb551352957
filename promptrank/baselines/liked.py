"""Which events of a history were liked."""

from promptrank.evaluation.labelled import Label
from promptrank.records import Candidate, Event, Request


def liked_events(request: Request, gain_of: Label, relevant_at: float) -> tuple[Event, ...]:
    """The events whose label is relevant; all where none has a label, as in a log of positives."""
    if not any(event.outcomes for event in request.history):
        return request.history

    def liked(event: Event) -> bool:
        gain = gain_of(Candidate("", event.item, outcomes=event.outcomes))
        return gain is not None and gain >= relevant_at

    return tuple(event for event in request.history if liked(event))
