"""What is seen of a server from outside: one clock for log, metrics and spans, and no texts."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.serve.spans import RequestSpans, open_spans
from promptrank.serve.trail import STAGES, Trail
from promptrank.workspace.rankers import open_ranker
from support.serving import app_of, ask, rank_body

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

GONE_THROUGH = tuple(name for name in STAGES if name != "look_up")
"""Stages of a request whose ids nobody looks up."""


@pytest.fixture
def ranker(toys: Path) -> Ranker:
    return open_ranker("toys/like", project=toys, engine="fake")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> RequestSpans:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return RequestSpans(provider.get_tracer("test"))


def metric(text: str, name: str) -> float:
    """One line of Prometheus' format."""
    (line,) = [line for line in text.splitlines() if line.rpartition(" ")[0] == name]
    return float(line.rpartition(" ")[2])


# ---- the trail


def test_stages_follow_each_other_and_none_comes_after_the_end() -> None:
    trail = Trail("r")
    for name in ("read", "wait", "encode", "engine", "engine", "write"):
        trail.stage(name)
    trail.end()
    trail.stage("engine")  # a thread whose request was answered by its deadline
    stages = trail.stages()
    assert [stage.name for stage in stages] == list(GONE_THROUGH)
    assert all(before.ended == after.begun for before, after in pairwise(stages))
    assert stages[-1].ended == trail.ended
    within = sum(stage.seconds for stage in stages)
    assert within <= trail.seconds == pytest.approx(within, abs=0.05)


def test_a_request_that_ends_early_has_the_stages_that_it_came_to() -> None:
    early = Trail("r")
    assert early.stages() == []
    early.stage("read")
    early.end()
    assert [stage.name for stage in early.stages()] == ["read"]


# ---- spans


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_is_a_span_of_its_caller_and_its_stages_are_inside(
    ranker: Ranker, spans: RequestSpans, exporter: InMemorySpanExporter
) -> None:
    lines: list[str] = []
    app = app_of(ranker, spans=spans, log=lines.append)
    sent = ask(
        app,
        "/v1/rank",
        rank_body("secret-request"),
        traceparent=f"00-{TRACE}-{PARENT}-01",
        x_request_id="abc",
    )
    assert json.loads(lines[0])["trace"] == TRACE
    made = by_name(exporter)
    assert set(made) == {"POST /v1/rank", *GONE_THROUGH}
    whole = made["POST /v1/rank"]
    assert whole.kind is SpanKind.SERVER and whole.parent is not None
    assert format_span_id(whole.parent.span_id) == PARENT
    assert dict(whole.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/rank",
        "http.response.status_code": 200,
        "promptrank.request_id": "abc",
        "promptrank.task": "toys/like",
        "promptrank.candidates": 3,
        "promptrank.tokens": sent.json()["tokens"],
    }
    for span in made.values():
        assert span.context is not None and format_trace_id(span.context.trace_id) == TRACE
        assert span.start_time is not None and span.end_time is not None
        assert "secret" not in span.to_json() and "Ann" not in span.to_json()
        if span is not whole:
            assert span.parent is not None and whole.context is not None
            assert span.parent.span_id == whole.context.span_id
            assert whole.start_time is not None and whole.end_time is not None
            assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time


def test_errors_are_marked_by_whose_fault_they_are(
    ranker: Ranker, spans: RequestSpans, exporter: InMemorySpanExporter
) -> None:
    app = app_of(ranker, spans=spans)
    ask(app, "/v1/rank", {"secret": 1})
    ask(app, "/secret", {})

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    ranker.rank_many = broken  # type: ignore[method-assign]
    ask(app, "/v1/rank", rank_body())
    ends = {
        (span.name, (span.attributes or {}).get("error.type"), span.status.status_code)
        for span in exporter.get_finished_spans()
        if span.kind is SpanKind.SERVER
    }
    assert ends == {
        ("POST /v1/rank", "wrong_fields", StatusCode.UNSET),
        ("POST none", "not_served", StatusCode.UNSET),
        ("POST /v1/rank", "fault", StatusCode.ERROR),
    }
    assert all("secret" not in span.to_json() for span in exporter.get_finished_spans())


def test_a_caller_that_sends_nonsense_begins_a_trace_of_its_own(
    ranker: Ranker, spans: RequestSpans, exporter: InMemorySpanExporter
) -> None:
    app = app_of(ranker, spans=spans)
    ask(app, "/v1/tasks", traceparent="00-zz-zz-zz")
    for path in ("/health", "/ready", "/metrics"):  # which are asked every few seconds
        ask(app, path)
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/tasks" and span.parent is None


CONSOLE = """\
import sys
from promptrank.serve.spans import open_spans
from promptrank.serve.trail import Trail
spans = open_spans()
if spans is None:
    print("none", any(name.startswith("opentelemetry") for name in sys.modules))
else:
    trail = Trail("r")
    trail.end()
    spans.answered(trail, {}, "GET", "/v1/tasks", 200, None)
"""


@pytest.mark.slow
def test_the_variables_of_opentelemetry_say_where_spans_go_and_without_them_nothing_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", CONSOLE], capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run().split() == ["none", "False"]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert json.loads(run())["resource"]["attributes"]["service.name"] == "promptrank"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    span = json.loads(run())
    assert (
        span["name"] == "GET /v1/tasks" and span["resource"]["attributes"]["service.name"] == "shop"
    )
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert run().split() == ["none", "False"]


def test_an_exporter_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "abacus")
    with pytest.raises(
        InputError, match=r"no exporter 'abacus' is installed here; there are: .*console"
    ):
        open_spans()
    monkeypatch.setattr("promptrank.serve.spans.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'promptrank\[tracing\]'"):
        open_spans()


# ---- numbers and the log


def test_stages_batches_caches_and_refusals_are_counted(ranker: Ranker) -> None:
    app = app_of(ranker)
    for _ in range(3):
        ask(app, "/v1/rank", rank_body())
    ask(app, "/v1/rank", {})
    text = ask(app, "/metrics").text
    for stage, requests in zip(GONE_THROUGH, (4, 3, 3, 3, 3), strict=True):
        assert metric(text, f'promptrank_stage_seconds_count{{stage="{stage}"}}') == requests
    labels = f'engine="fake",model="{ranker.info.model}"'
    assert metric(text, f"promptrank_batch_requests_count{{{labels}}}") == 3
    assert (
        metric(text, 'promptrank_batch_requests_bucket{engine="fake",le="1.0",model="fake"}') == 3
    )
    assert metric(text, 'promptrank_refused_total{path="/v1/rank",reason="wrong_fields"}') == 1
    counts = [
        metric(text, f'promptrank_cache_{kind}_total{{cache="fragments",of="toys/like"}}')
        for kind in ("hits", "misses")
    ]
    # The subject and three items were there for two requests; instruction and question are kept.
    assert counts == [2 * 4, 1 + 1 + 4]
    assert metric(text, "promptrank_engine_restarts_total") == 0
    assert metric(text, "promptrank_ready") == 1


def test_a_line_of_the_log_says_where_the_time_went(ranker: Ranker) -> None:
    lines: list[str] = []
    app = app_of(ranker, log=lines.append)
    tokens = ask(app, "/v1/rank", rank_body()).json()["tokens"]
    ask(app, "/v1/rank", {})
    ask(app, "/health")
    ranked, refused, health = map(json.loads, lines)
    assert ranked.items() >= {"task": "toys/like", "candidates": 3, "tokens": tokens}.items()
    assert list(ranked["stages"]) == list(GONE_THROUGH)
    assert sum(ranked["stages"].values()) <= ranked["ms"] + 0.1
    assert list(refused["stages"]) == ["read"] and "task" not in refused
    assert "stages" not in health
