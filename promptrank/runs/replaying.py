"""How rankings differ from those that were served, and what changed since."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from promptrank.ranking.ranking import Ranking
from promptrank.scores.origin import Origin

Answer = Mapping[str, tuple[int | None, float]]
"""Candidate -> rank and score, as served; no rank where a policy step took it out."""


@dataclass(slots=True)
class Differences:
    """What was found so far, over requests.

    Attributes:
        tolerance: scores that are closer than this are the same.
        requests, candidates: that were compared.
        largest: difference of two scores.
        total: of all differences.
        top: requests that have another candidate in the first place; two whose served scores are
            the same within the tolerance may change places.
        order: requests with another order anywhere, in the same sense.
        gone: candidates that had a score and have none now.
        new: candidates that had none.
    """

    tolerance: float
    requests: int = 0
    candidates: int = 0
    largest: float = 0.0
    total: float = 0.0
    top: int = 0
    order: int = 0
    gone: int = 0
    new: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean difference of two scores; 0 where none were compared."""
        return self.total / self.candidates if self.candidates else 0.0

    @property
    def same(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return self.largest <= self.tolerance and not (self.order or self.gone or self.new)

    def add(self, served: Answer, ranking: Ranking) -> None:
        """Compare one request's ranking with the one that was served."""
        now = {s.candidate_id: s for s in (*ranking.scored, *ranking.removed)}
        both = [name for name in served if name in now]
        apart = [abs(served[name][1] - now[name].score) for name in both]
        self.requests += 1
        self.candidates += len(both)
        self.total += sum(apart)
        self.largest = max(self.largest, *apart, 0.0)
        self.gone += len(served) - len(both)
        self.new += len(now) - len(both)
        places = {name: rank for name in both if (rank := served[name][0]) is not None}
        before = sorted(places, key=places.__getitem__)
        after = [s.candidate_id for s in ranking.scored if s.candidate_id in served]
        moved = [
            place
            for place, (a, b) in enumerate(zip_longest(before, after))
            if a != b
            and (a is None or b is None or abs(served[a][1] - served[b][1]) > self.tolerance)
        ]
        self.order += bool(moved)
        self.top += bool(moved) and moved[0] == 0
        wrong = moved or len(both) < max(len(served), len(now))
        if (wrong or max(apart, default=0.0) > self.tolerance) and len(self.examples) < 20:
            self.examples.append(ranking.request_id)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "requests": self.requests,
            "candidates": self.candidates,
            "max_difference": self.largest,
            "mean_difference": self.mean,
            "changed_top": self.top,
            "changed_order": self.order,
            "gone": self.gone,
            "new": self.new,
            "tolerance": self.tolerance,
            "same": self.same,
            "examples": self.examples,
        }


def origin_changes(then: Origin, now: Origin) -> list[str]:
    """What of the things that make a score is another than it was, in words; empty for nothing."""
    changes = []
    if then.ranker != now.ranker:
        changes.append(f"ranker: {then.ranker}, now {now.ranker}")
    if then.prompt != now.prompt:
        changes.append("prompts: the template, the answers, the budget or the tokenizer")
    elif then.task_digest != now.task_digest:
        changes.append("task: its file, in what words no prompt")
    if then.adapter_digest != now.adapter_digest:
        changes.append(f"adapter: {_adapter(then)}, now {_adapter(now)}")
    if then.fusion_digest != now.fusion_digest:
        changes.append("fusion: its coefficients")
    if then.policy != now.policy:
        changes.append("policy: its steps")
    if then.requests != now.requests and None not in (then.requests, now.requests):
        changes.append("requests: another file, or what is in it")
    before, after = then.engine or {}, now.engine or {}
    if before.get("digest") != after.get("digest"):
        changes.append(f"model: {before.get('model')}, now {after.get('model')}")
    for name in ("name", "dtype", "device"):
        if before.get(name) != after.get(name):
            word = "engine" if name == "name" else name
            changes.append(f"{word}: {before.get(name)}, now {after.get(name)}")
    libraries = sorted({*then.versions, *now.versions})
    changes += [
        f"{name}: {then.versions.get(name, 'none')}, now {now.versions.get(name, 'none')}"
        for name in libraries
        if then.versions.get(name) != now.versions.get(name)
    ]
    return changes


def _adapter(origin: Origin) -> str:
    if origin.adapter is None:
        return "none"
    return f"{Path(origin.adapter).name} ({(origin.adapter_digest or '')[:12]})"
