"""Which past events a prompt shows: one function for each way to choose.

Every function takes events oldest first and returns some of them; all but `similar` keep that
order. Nothing here looks at a time: what comes in was knowable already.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from promptrank.schema.parts import History


@dataclass(frozen=True, slots=True)
class Past:
    """One event to choose from.

    Attributes:
        at: its place in the caller's table.
        action: the label of what happened.
        item: equal for events about one item.
    """

    at: int
    action: str | None
    item: Hashable


Nearness = Callable[[Sequence[Past]], Sequence[float]]
"""How near in text each event is to the subject; larger is nearer."""


def only(events: Sequence[Past], actions: Sequence[str]) -> list[Past]:
    """The events of these actions; all of them where no action is named."""
    return [e for e in events if e.action in actions] if actions else list(events)


def deduplicate(events: Sequence[Past], priority: Sequence[str]) -> list[Past]:
    """One event for each item: the action listed first, and of equal ones the latest.

    Actions that are not listed come after those that are.
    """
    rank = {action: i for i, action in enumerate(priority)}
    best: dict[Hashable, tuple[int, int]] = {}
    for i, event in enumerate(events):
        key = (rank.get(event.action or "", len(rank)), -i)
        if event.item not in best or key < best[event.item]:
            best[event.item] = key
    return [events[i] for i in sorted(-place for _, place in best.values())]


def thin(events: Sequence[Past], at_most: Mapping[str, int]) -> list[Past]:
    """At most so many events of an action: the latest ones stay."""
    left = dict(at_most)
    kept = []
    for event in reversed(events):
        action = event.action or ""
        if action in left:
            left[action] -= 1
            if left[action] < 0:
                continue
        kept.append(event)
    return kept[::-1]


def chronological(events: Sequence[Past], last: int) -> list[Past]:
    """The latest events."""
    return list(events[len(events) - last :]) if last < len(events) else list(events)


def round_robin(events: Sequence[Past], last: int) -> list[Past]:
    """The latest event of each action in turn, then the next latest of each, until full.

    The action of the very latest event goes first. Counts by action differ by at most one as far
    as each action has events.
    """
    queues: dict[str | None, list[int]] = {}
    for i in range(len(events) - 1, -1, -1):
        queues.setdefault(events[i].action, []).append(i)
    chosen: list[int] = []
    deepest = max((len(q) for q in queues.values()), default=0)
    for depth in range(deepest):
        for queue in queues.values():
            if depth < len(queue) and len(chosen) < last:
                chosen.append(queue[depth])
    return [events[i] for i in sorted(chosen)]


def similar(events: Sequence[Past], last: int, nearness: Nearness) -> list[Past]:
    """The events nearest in text to the subject, nearest last; of equally near ones the latest."""
    if not events or last == 0:
        return []
    near = nearness(events)
    order = sorted(range(len(events)), key=lambda i: (near[i], i))
    return [events[i] for i in order[-last:]]


def build(events: Sequence[Past], history: History, nearness: Nearness | None) -> list[Past]:
    """What a task's ``history`` section chooses from the latest events."""
    left = only(events, history.actions)
    if history.deduplicate:
        left = deduplicate(left, history.deduplicate)
    if history.at_most:
        left = thin(left, history.at_most)
    if history.build == "round_robin":
        return round_robin(left, history.last)
    if history.build == "similar" and nearness is not None:
        return similar(left, history.last, nearness)
    return chronological(left, history.last)
