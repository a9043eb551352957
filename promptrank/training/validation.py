"""A model in training, measured as `evaluate` does: same prompts, engine, scores and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptrank.engine.contract import EngineInfo
from promptrank.engine.cutting import ForwardBudget
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import vocab_size
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.tree_checks import Limits
from promptrank.errors import DataError
from promptrank.evaluation.compare import compare
from promptrank.evaluation.report import Report
from promptrank.prompt import Encoder
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.posing import Prompts
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.runs.scoring import score
from promptrank.runtime.opened import Opened
from promptrank.schema.metric_names import without_sampling
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores

LOSS = "loss"
_NAME = "decoder"
_TOKENS = 1152
_LOGITS = 1 << 24


@dataclass(frozen=True, slots=True)
class Slice:
    """The requests of one task that a training run is validated on.

    Attributes:
        metrics: names; LOSS, the mean -log P of the outcomes, comes with them.
    """

    name: str
    task: Task
    encoder: Encoder
    requests: Sequence[Request]
    metrics: tuple[str, ...]


def engine_over(
    model: Any, max_tokens: int, longest_packed: int | None, flex: bool = False
) -> PackedEngine:
    """An engine over a model in memory, with whatever adapter is on it.

    Args:
        model: of transformers, its layers wrapped by peft or not.
        longest_packed: the longest path that may run packed, None for all.
        flex: attend by FlexAttention.
    """
    vocab = vocab_size(model)
    info = EngineInfo("packed", "the model in training", "", "float32", max_tokens)
    budget = ForwardBudget(_TOKENS, max(1, _LOGITS // vocab))
    limits = Limits(max_tokens, vocab)
    return PackedEngine(Adapters(model), info, limits, budget, longest_packed, flex)


def measure(engine: PackedEngine, part: Slice, draws: int = 0) -> tuple[dict[str, float], Report]:
    """The slice's metrics, and the report that they are taken from.

    Args:
        draws: bootstrap draws, for the report's intervals.

    Raises:
        DataError: nothing could be scored, or a metric is undefined on this slice.
    """
    engine.forget()
    method = Pointwise(part.task, Prompts(part.encoder))
    origin = Origin(_NAME, task=part.name, method=method.name, prompt=method.fingerprint)
    scores = score(Ranker(part.task, method, Opened(engine), origin), part.requests)
    report = compare(part.task, part.requests, {_NAME: scores}, metrics=part.metrics, draws=draws)
    metrics: dict[str, float] = {LOSS: _loss(part, scores)}
    for named, cell in report.rankers[0].cells.items():
        name = without_sampling(named)  # as the settings name it
        if cell.value is not None:
            metrics[name] = cell.value
        elif name == part.metrics[0]:
            raise DataError(
                f"{part.name}: {name} is undefined on the {len(part.requests)} validation "
                f"requests ({cell.reason}); validate on more, or by another metric"
            )
    return metrics, report


def _loss(part: Slice, scores: Scores) -> float:
    """Mean -log P of what came true, over scored candidates and their answered questions."""
    total, count = 0.0, 0
    for name, question in part.task.questions.items():
        places = {answer: place for place, answer in enumerate(question.answers)}
        known = [
            (row, places[candidate.outcomes[name]])
            for request in part.requests
            for candidate in request.candidates
            if name in candidate.outcomes
            and (row := scores.index.get((request.request_id, candidate.candidate_id))) is not None
        ]
        if known:
            rows, answers = np.array(known).T
            total -= float(scores.logprobs(part.task, name)[rows, answers].sum())
            count += len(known)
    return total / max(count, 1)


def together(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over tasks, and each task's own metrics under ``<task>_<metric>`` if several."""
    names = set.intersection(*(set(metrics) for metrics in measured.values()))
    count = len(measured)
    means = {name: sum(m[name] for m in measured.values()) / count for name in sorted(names)}
    if len(measured) == 1:
        return means
    own = {f"{task}_{name}": v for task, m in measured.items() for name, v in m.items()}
    return means | own
