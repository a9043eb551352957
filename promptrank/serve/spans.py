"""OpenTelemetry: a span for each request, and in it one for each stage; names and counts only.

Where the spans go is said as for any program: a tracer provider that is set in this process (by
``opentelemetry-instrument`` for one), or the variables of OpenTelemetry. Without these nothing of
it is imported.
"""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

from promptrank.errors import InputError
from promptrank.serve.trail import Trail

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_ASKED_ALWAYS = frozenset({"/health", "/ready", "/metrics"})
_EXPORTERS, _PROVIDER = "OTEL_TRACES_EXPORTER", "OTEL_PYTHON_TRACER_PROVIDER"
_ABOUT = "OTEL_RESOURCE_ATTRIBUTES"


class RequestSpans:
    """Writes spans once a request has its answer, by the times on its trail."""

    def __init__(self, tracer: "Tracer") -> None:
        from opentelemetry import propagate, trace

        self._tracer, self._extract, self._trace = tracer, propagate.extract, trace

    def answered(
        self,
        trail: Trail,
        headers: Mapping[str, str],
        method: str,
        route: str,
        status: int,
        reason: str | None,
    ) -> str | None:
        """One request; the caller's ``traceparent``, if its headers have one, is the parent.

        Args:
            route: the path as it is served, never as it was sent.

        Returns:
            the trace's id, as 32 hexadecimal digits; None for what is asked every few seconds.
        """
        if route in _ASKED_ALWAYS:
            return None
        trace = self._trace
        known: dict[str, str | int | None] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "error.type": reason,
            "promptrank.request_id": trail.request_id,
            "promptrank.task": trail.task,
            "promptrank.candidates": trail.candidates,
            "promptrank.tokens": trail.tokens,
        }
        span = self._tracer.start_span(
            f"{method} {route}",
            self._extract(headers),
            trace.SpanKind.SERVER,
            {name: value for name, value in known.items() if value is not None},
            start_time=trail.begun,
        )
        if span.is_recording():
            if status >= 500:
                span.set_status(trace.StatusCode.ERROR, reason)
            inside = trace.set_span_in_context(span)
            for stage in trail.stages():
                part = self._tracer.start_span(stage.name, inside, start_time=stage.begun)
                part.end(stage.ended)
        span.end(trail.ended)
        trace_id: str = trace.format_trace_id(span.get_span_context().trace_id)
        return trace_id


def open_spans() -> RequestSpans | None:
    """What writes spans; None where nobody has said where they go.

    Raises:
        InputError: to an exporter that is not installed.
    """
    asked = [name.strip() for name in os.environ.get(_EXPORTERS, "").split(",")]
    asked = [name for name in asked if name not in ("", "none")]
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if not asked and _PROVIDER not in os.environ and "opentelemetry.trace" not in sys.modules:
        return None
    if find_spec("opentelemetry") is None:
        raise InputError(
            f"{_EXPORTERS}={','.join(asked)}: needs opentelemetry, not installed here; "
            "pip install 'promptrank[tracing]', or unset it"
        )
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        if not asked:
            return None  # imported by somebody, and set up by nobody
        _export_to(asked)
    return RequestSpans(trace.get_tracer("promptrank"))


def _export_to(names: list[str]) -> None:
    """Set up what the variables of OpenTelemetry say, which its own classes read."""
    if find_spec("opentelemetry.sdk") is None:
        raise InputError(
            f"{_EXPORTERS}={','.join(names)}: needs opentelemetry-sdk, not installed here; "
            "pip install 'promptrank[tracing]', or unset it"
        )
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(_ABOUT, "")
    provider = TracerProvider(
        resource=Resource.create({} if named else {"service.name": "promptrank"})
    )
    installed = {entry.name: entry for entry in entry_points(group="opentelemetry_traces_exporter")}
    for name in names:
        if name == "otlp":
            protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
        if name not in installed:
            have = ", ".join(sorted(installed)) or "none"
            raise InputError(
                f"{_EXPORTERS}: no exporter {name!r} is installed here; there are: {have}; "
                "pip install opentelemetry-exporter-otlp brings otlp"
            )
        provider.add_span_processor(BatchSpanProcessor(installed[name].load()()))
    trace.set_tracer_provider(provider)
