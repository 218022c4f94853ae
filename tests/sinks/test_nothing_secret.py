"""What sinks tell has neither passwords nor parameters in it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from hermetic import Database, FaultError
from hermetic.sinks import ScopeView, Sink, attach, logs
from tests.optional import optional

prometheus_client = optional("prometheus_client")
optional("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

from hermetic.sinks import opentelemetry, prometheus  # noqa: E402


class Kept(Sink):
    def __init__(self) -> None:
        self.said: list[str] = []

    def ended(self, scope: ScopeView, note: Any) -> None:
        self.said.append(f"{scope!r} {scope.seen!r}")


@pytest.mark.postgresql
def test_a_password_of_the_url_is_told_by_no_sink(caplog: pytest.LogCaptureFixture) -> None:
    # nobody listens there
    db = Database("postgresql+psycopg://ann:hunter2@127.0.0.1:1/app", connect_timeout=1.0)
    spans, reader, kept = InMemorySpanExporter(), InMemoryMetricReader(), Kept()
    provider, registry = TracerProvider(), prometheus_client.CollectorRegistry()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    opentelemetry.attach(db, provider, MeterProvider([reader]))
    prometheus.attach(db, registry)
    logs.attach(db)
    attach(db, kept)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(FaultError),
        db.session(name="page") as session,
    ):
        session.execute("SELECT :secret", {"secret": "hunter2"})

    told = [str(vars(record)) for record in caplog.records if record.name == "hermetic.scopes"]
    told += [span.to_json() for span in spans.get_finished_spans()]
    told += [prometheus_client.generate_latest(registry).decode(), str(reader.get_metrics_data())]
    told += kept.said
    assert len(told) == 5
    assert all("page" in each for each in told)
    assert [each for each in told if "hunter2" in each] == []
    db.close()
