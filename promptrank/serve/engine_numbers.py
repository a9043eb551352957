"""What opened engines and prompts have counted themselves, read when Prometheus asks."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from promptrank.engine.contract import Caching
from promptrank.runtime.batch_sizes import BOUNDS, BatchSizes
from promptrank.serve.hosted import Hosted


class EngineNumbers(Collector):
    """The numbers of the engines that a server's tasks use now; an engine by its name and model."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        batches = HistogramMetricFamily(
            "promptrank_batch_requests",
            "Requests that an engine begins together.",
            labels=("engine", "model"),
        )
        hits = CounterMetricFamily(
            "promptrank_cache_hits", "What a cache had.", labels=("cache", "of")
        )
        misses = CounterMetricFamily(
            "promptrank_cache_misses", "What a cache had not.", labels=("cache", "of")
        )
        seen: set[int] = set()
        for served in self._hosted.every():
            opened, encoder = served.ranker.opened, served.ranker.encoder
            if encoder is not None:
                had, had_not = encoder.fragments
                hits.add_metric(("fragments", served.name), had)
                misses.add_metric(("fragments", served.name), had_not)
            if id(opened) in seen:
                continue
            seen.add(id(opened))
            batches.add_metric(
                (opened.info.name, opened.info.model),
                _buckets(opened.batches),
                opened.batches.works,
            )
            if isinstance(opened.engine, Caching):
                for cache, (had, had_not) in opened.engine.caches.items():
                    hits.add_metric((cache, opened.info.model), had)
                    misses.add_metric((cache, opened.info.model), had_not)
        yield from (batches, hits, misses)
        restarts = self._hosted.restarts
        yield CounterMetricFamily(
            "promptrank_engine_restarts",
            "Processes of engines that were started in the place of dead ones.",
            value=restarts.total if restarts is not None else 0,
        )
        yield GaugeMetricFamily(
            "promptrank_ready",
            "1 where /ready is green.",
            value=float(self._hosted.health == "ready"),
        )


def _buckets(batches: BatchSizes) -> list[tuple[str, float]]:
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(batches.counts), strict=True))
