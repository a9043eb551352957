"""Metrics by name: a record of `promptrank.schema.metric_kinds` with its cut-off."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from promptrank.errors import InputError
from promptrank.schema.metric_kinds import KINDS, MetricKind
from promptrank.schema.metric_names import check_metrics, parse_metric


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name taken apart: ``ndcg@10`` is base ``ndcg`` with cut-off 10."""

    name: str
    base: str
    cutoff: int | None

    @property
    def kind(self) -> MetricKind:
        """What is known of it."""
        return KINDS[self.base]

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value is the better one."""
        return self.kind.lower_is_better

    @property
    def needs_probability(self) -> bool:
        """Whether it is computed from P(relevant), not from scores."""
        return self.kind.needs == "probabilities"


def parse_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names, each once.

    Raises:
        InputError: bad names, all in one message; or a metric whose library is not installed.
    """
    unique = tuple(dict.fromkeys(names))
    try:
        check_metrics(unique)
    except ValueError as error:
        raise InputError(f"metrics: {error}") from error
    if not unique:
        raise InputError("metrics: none is named; name one, such as auc")
    metrics = tuple(Metric(name, *parse_metric(name)) for name in unique)
    for metric in metrics:
        if metric.kind.library and find_spec(metric.kind.library[0]) is None:
            library, extra = metric.kind.library
            raise InputError(
                f"metrics: {metric.name} is computed by {library}, which is not installed; "
                f"run: pip install 'promptrank[{extra}]'"
            )
    return metrics
