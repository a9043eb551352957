"""A model in training, measured as `evaluate` does: same prompts, engine, scores and metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.engine.contract import EngineInfo
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import packed_window, vocab_size
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.parts import ForwardBudget
from promptrank.engine.tree_checks import Limits
from promptrank.errors import DataError
from promptrank.evaluation.compare import evaluate
from promptrank.evaluation.judged import judge, lookup
from promptrank.prompt import Encoder
from promptrank.ranking.loop import rank_requests
from promptrank.records import Candidate, Request
from promptrank.schema.task import Task

LOSS = "loss"
_NAME = "decoder"
_TOKENS = 1152
_LOGITS = 1 << 24


@dataclass(frozen=True, slots=True)
class Slice:
    """The requests of one task that a training run is validated on.

    Attributes:
        gain: a candidate's gain from its outcomes, None where unlabelled.
        relevant_at: the gain from which it is relevant.
        metrics: names; LOSS, the mean -log P of the outcomes, comes with them.
    """

    name: str
    task: Task
    encoder: Encoder
    requests: Sequence[Request]
    gain: Callable[[Candidate], float | None]
    relevant_at: float
    metrics: tuple[str, ...]


def engine_over(model: Any, max_tokens: int) -> PackedEngine:
    """An engine over a model in memory, with whatever adapter is on it.

    Args:
        model: of transformers, its layers wrapped by peft or not.
    """
    vocab = vocab_size(model)
    info = EngineInfo("packed", "the model in training", "", "float32", max_tokens)
    budget = ForwardBudget(_TOKENS, max(1, _LOGITS // vocab))
    limits = Limits(max_tokens, vocab)
    return PackedEngine(Adapters(model), info, limits, budget, packed_window(model.config))


def measure(engine: PackedEngine, part: Slice) -> dict[str, float]:
    """The slice's metrics.

    Raises:
        DataError: nothing could be scored, or a metric is undefined on this slice.
    """
    engine.forget()
    scores: dict[tuple[str, str], float | None] = {}
    chances: dict[tuple[str, str], float | None] = {}
    single = next(iter(part.task.questions)) if len(part.task.questions) == 1 else None
    lost, weights = 0.0, 0.0
    for ranking in rank_requests(part.task, part.encoder, engine, part.requests):
        assert ranking.request is not None
        candidates = {c.candidate_id: c for c in ranking.request.candidates}
        for scored in ranking.scored:
            key = ranking.request_id, scored.candidate_id
            scores[key] = scored.score
            if single is not None:
                chances[key] = scored.questions[single].probability
            for name, outcome in candidates[scored.candidate_id].outcomes.items():
                lost -= scored.questions[name].logprobs[outcome]
                weights += 1
    judged = judge(
        part.requests,
        {_NAME: lookup(scores, chances if single is not None else None)},
        gain_of=part.gain,
        relevant_at=part.relevant_at,
    )
    report = evaluate(judged, part.metrics, reference=_NAME, draws=0)
    found: dict[str, float] = {LOSS: lost / max(weights, 1)}
    for name, cell in report.rankers[0].cells.items():
        if cell.value is not None:
            found[name] = cell.value
        elif name == part.metrics[0]:
            raise DataError(
                f"{part.name}: {name} is undefined on the {len(part.requests)} validation "
                f"requests ({cell.reason}); validate on more, or by another metric"
            )
    return found


def together(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over tasks, and each task's own metrics under ``<task>_<metric>`` if several."""
    names = set.intersection(*(set(one) for one in found.values()))
    means = {name: sum(one[name] for one in found.values()) / len(found) for name in sorted(names)}
    if len(found) == 1:
        return means
    own = {f"{task}_{name}": v for task, one in found.items() for name, v in one.items()}
    return means | own
