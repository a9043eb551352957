"""Negatives that were sampled: how the data says so, and what metrics over them are called."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from promptrank.errors import DataError, InputError
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.records import Request
from promptrank.schema.metric_names import SAMPLERS, sampling_of, without_sampling


class Sampled:
    """Watches requests for how their negatives were sampled, which must be one way."""

    def __init__(self) -> None:
        self._seen: dict[str | None, str] = {}  # sampling -> a request that has it

    def add(self, request: Request) -> None:
        """Note a request.

        Raises:
            DataError: another request's negatives were sampled otherwise, or not at all.
        """
        sampling = sampling_of_request(request)
        if sampling in self._seen:
            return
        self._seen[sampling] = request.request_id
        if len(self._seen) > 1:
            told = " and ".join(
                f"{how or 'none'} (request '{name}')" for how, name in self._seen.items()
            )
            raise DataError(
                f"sampled negatives of different kinds: {told}; metrics over them say different "
                "things, so evaluate them one by one"
            )

    @property
    def sampling(self) -> str | None:
        """Such as ``u99``; None where nothing was sampled."""
        return next(iter(self._seen), None)


def sampling_of_request(request: Request) -> str | None:
    """Such as ``u99``: the first letter of the sampler, and how many negatives were wanted.

    Raises:
        DataError: what the request says of its negatives cannot be read.
    """
    given = request.meta.get("negatives")
    if given is None:
        return None
    sampler = given.get("sampler") if isinstance(given, Mapping) else None
    wanted = given.get("wanted") if isinstance(given, Mapping) else None
    if sampler not in SAMPLERS or not isinstance(wanted, int) or wanted < 1:
        known = " or ".join(SAMPLERS)
        raise DataError(
            f"request '{request.request_id}': meta.negatives needs `sampler` ({known}) and "
            f"`wanted` (a count of 1 or more), got {str(given)[:80]}"
        )
    return f"{SAMPLERS[sampler]}{wanted}"


def metrics_over(names: Iterable[str], sampling: str | None) -> tuple[Metric, ...]:
    """The metrics, named after the sampled negatives that they are over.

    Raises:
        InputError: there is no such metric, or a name says of the negatives what is not so.
    """
    metrics = parse_metrics(names)
    for metric in metrics:
        said = sampling_of(metric.name)
        if said is not None and said != sampling:
            here = f"are sampled as {sampling}" if sampling else "are not sampled"
            raise InputError(
                f"metrics: {metric.name}: the negatives of these requests {here}; such metrics are "
                f"not comparable, write {without_sampling(metric.name)}"
                + (f"~{sampling}" if sampling else "")
            )
    if sampling is None:
        return metrics
    named = (replace(m, name=f"{without_sampling(m.name)}~{sampling}") for m in metrics)
    return tuple(dict.fromkeys(named))
