"""What a server counts, as Prometheus reads it: names of paths, tasks and reasons, and no texts."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from promptrank.ranking.ranking import Ranking
from promptrank.serve.engine_numbers import EngineNumbers
from promptrank.serve.hosted import Hosted
from promptrank.serve.seats import Seats
from promptrank.serve.trail import Trail

TEXT = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


class ServerNumbers:
    """The numbers of one server; several in one process do not share them.

    Attributes:
        registry: takes the numbers of others in.
    """

    def __init__(self, hosted: Hosted, seats: Seats) -> None:
        self.registry = registry = CollectorRegistry()
        self._seconds = Histogram(
            "promptrank_request_seconds",
            "From a request's head to its answer.",
            ("path", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "promptrank_stage_seconds",
            "By stage of a request: read, wait, encode, engine, write.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "promptrank_refused",
            "Requests without an answer, by reason.",
            ("path", "reason"),
            registry=registry,
        )
        self._candidates = Counter(
            "promptrank_candidates", "Candidates scored.", ("task",), registry=registry
        )
        self._tokens = Counter(
            "promptrank_tokens", "Tokens asked of an engine.", ("task",), registry=registry
        )
        self._errors = Counter(
            "promptrank_error_rows",
            "Candidates and requests that could not be scored.",
            ("task", "reason"),
            registry=registry,
        )
        self._mass = Histogram(
            "promptrank_label_mass",
            "Probability of a question's answers together.",
            ("task", "question"),
            buckets=_SHARES,
            registry=registry,
        )
        waiting = Gauge("promptrank_waiting", "Requests that wait for a seat.", registry=registry)
        waiting.set_function(lambda: seats.waiting)
        under_way = Gauge("promptrank_under_way", "Requests being ranked.", registry=registry)
        under_way.set_function(lambda: seats.under_way)
        registry.register(EngineNumbers(hosted))

    def answered(self, path: str, status: int, reason: str | None, trail: Trail) -> None:
        """A request has its answer, or its error.

        Args:
            path: of the route, or one word for all that have none.
            reason: a word of ours.
            trail: ended.
        """
        self._seconds.labels(path, str(status)).observe(trail.seconds)
        for stage in trail.stages():
            self._stages.labels(stage.name).observe(stage.seconds)
        if reason is not None:
            self._refused.labels(path, reason).inc()

    def ranked(self, task: str, rankings: Sequence[Ranking], tokens: int) -> None:
        """What came of one call."""
        self._tokens.labels(task).inc(tokens)
        for ranking in rankings:
            self._candidates.labels(task).inc(len(ranking.scored))
            for row in ranking.errors:
                self._errors.labels(task, row.reason).inc()
            for scored in ranking.scored:
                for name, answered in scored.questions.items():
                    self._mass.labels(task, name).observe(answered.label_mass)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
