"""What this replica counted, and what the actors say of themselves, for Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "devskyy_http_requests", "HTTP requests answered by this replica", ["method", "route", "status"], registry=REGISTRY
)
SECONDS = Histogram(
    "devskyy_http_request_seconds", "Seconds until a request was answered", ["method", "route"], registry=REGISTRY
)
AUDIT_LOST = Counter(
    "devskyy_audit_lost", "Entries of the audit log that this replica could not write", registry=REGISTRY
)


def render(expected: set[str], found: dict[str, dict[str, Any]]) -> bytes:
    """Prometheus text: this replica's requests, and each expected actor's state as service discovery tells it."""
    registry = CollectorRegistry()
    registry.register(_Actors(expected, found))
    return generate_latest(REGISTRY) + generate_latest(registry)


class _Actors:
    def __init__(self, expected: set[str], found: dict[str, dict[str, Any]]) -> None:
        self._expected, self._found = expected, found

    def collect(self) -> Any:
        up = GaugeMetricFamily("devskyy_actor_up", "Whether the actor answers", labels=["actor"])
        for name in sorted(self._expected):
            up.add_metric([name], float(name in self._found))
        yield up
        labels = ["actor", "endpoint"]
        answered = CounterMetricFamily("devskyy_actor_answered", "Requests answered", labels=labels)
        errors = CounterMetricFamily("devskyy_actor_errors", "Requests that ended in an error", labels=labels)
        in_flight = GaugeMetricFamily("devskyy_actor_in_flight", "Requests being worked on", labels=labels)
        for name, stats in sorted(self._found.items()):
            for endpoint in stats.get("endpoints") or []:
                load = endpoint.get("data") or {}
                where = [name, endpoint["name"]]
                answered.add_metric(where, load.get("answered", 0))
                errors.add_metric(where, load.get("errors", 0))
                in_flight.add_metric(where, load.get("in_flight", 0))
        yield from (answered, errors, in_flight)
