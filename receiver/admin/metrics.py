"""The metrics, in Prometheus's text format. Written by prometheus-client, which knows its rules of names and escapes.

Its usual counters, which the program adds to as it runs, aren't used: nearly all of these numbers are the spool's own
and outlive the process, so they are read when somebody asks. There are as many lines as integrations and live URLs: no
label has a value that a stranger can choose.
"""

import contextlib
import resource
from collections.abc import Iterator

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from receiver.admin.view import View

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def render(view: View) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(view))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        yield from _deliveries(self._view)
        yield from _schemas(self._view)
        yield from _urls(self._view)
        yield from _parts(self._view)
        yield from _process()


def _deliveries(view: View) -> Iterator[Metric]:
    deliveries = CounterMetricFamily(
        "sluice_deliveries",
        "Deliveries to a live URL, by answer, since the receiver's start.",
        labels=["schema", "code"],
    )
    elsewhere = CounterMetricFamily(
        "sluice_unmatched_requests", "Requests that were for no live URL, by answer, since the start.", labels=["code"]
    )
    for (schema, status), count in sorted(view.answers.items(), key=lambda each: (each[0][0] or "", each[0][1])):
        if schema is None:
            elsewhere.add_metric([str(status)], count)
        else:
            deliveries.add_metric([schema, str(status)], count)
    yield deliveries
    yield elsewhere
    yield CounterMetricFamily(
        "sluice_refused_deliveries",
        "Deliveries answered 401, for their token or their signature, since the start.",
        value=view.unauthorized,
    )


def _schemas(view: View) -> Iterator[Metric]:
    accepted = CounterMetricFamily(
        "sluice_accepted_events", "Deliveries answered 200, since the spool was made.", labels=["schema"]
    )
    loaded = CounterMetricFamily("sluice_loaded_events", "Those whose row got into data.", labels=["schema"])
    rejected = CounterMetricFamily(
        "sluice_rejected_events", "Those whose row got into _sdc_rejected.", labels=["schema"]
    )
    rows = GaugeMetricFamily("sluice_spool_events", "Those that wait in the spool.", labels=["schema"])
    lag = GaugeMetricFamily(
        "sluice_loader_lag_seconds", "How long the oldest waiting row has been waiting.", labels=["schema"]
    )
    held = GaugeMetricFamily("sluice_schema_held", "1 where rows wait although the warehouse is up.", labels=["schema"])
    last = GaugeMetricFamily(
        "sluice_last_event_timestamp_seconds", "When the last delivery was accepted.", labels=["schema"]
    )
    for each in view.integrations:
        label = [each.schema]
        accepted.add_metric(label, each.counts.accepted)
        loaded.add_metric(label, each.counts.loaded)
        rejected.add_metric(label, each.counts.rejected)
        rows.add_metric(label, each.counts.waiting)
        lag.add_metric(label, max(0.0, view.at - each.oldest_at) if each.oldest_at else 0)  # the clock may be set back
        held.add_metric(label, each.hold is not None)
        if each.counts.last_received_at:
            last.add_metric(label, each.counts.last_received_at / 1e6)
    yield from (accepted, loaded, rejected, rows, lag, held, last)


def _urls(view: View) -> Iterator[Metric]:
    labels = ["schema", "slot", "fingerprint"]
    created = GaugeMetricFamily(
        "sluice_endpoint_created_timestamp_seconds", "When the live URL was made.", labels=labels
    )
    used = GaugeMetricFamily(
        "sluice_endpoint_last_used_timestamp_seconds", "When the live URL was last posted to.", labels=labels
    )
    for each in view.integrations:
        for slot in each.slots:
            values = [each.schema, slot.slot, slot.fingerprint]
            if slot.created_at is not None:
                created.add_metric(values, slot.created_at)
            if slot.last_used is not None:
                used.add_metric(values, slot.last_used)
    yield from (created, used)


def _parts(view: View) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sluice_spool_bytes", "Bytes of the bodies that wait in the spool.", value=view.waiting_bytes
    )
    yield GaugeMetricFamily("sluice_spool_max_bytes", "How many may: beyond it senders get 503.", value=view.max_bytes)
    yield GaugeMetricFamily(
        "sluice_spool_set_aside", "Broken spools that are kept in the stack's folder.", value=len(view.set_aside)
    )
    yield GaugeMetricFamily("sluice_ready", "1 if a delivery can be taken.", value=view.not_ready is None)
    yield GaugeMetricFamily(
        "sluice_warehouse_up", "1 if the warehouse answered when it was last needed.", value=view.warehouse == "up"
    )
    yield GaugeMetricFamily("sluice_loader_up", "1 if the loader's process runs.", value=view.loader_pid is not None)
    yield CounterMetricFamily("sluice_loader_starts", "How often it was started.", value=view.loader_starts)
    yield InfoMetricFamily("sluice_build", "The receiver's code, by digest.", value={"revision": view.code})


def _process() -> Iterator[Metric]:
    """The receiver's process, in the names and words of Prometheus's own client libraries."""
    process = psutil.Process()
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        yield CounterMetricFamily(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds.", value=times.user + times.system
        )
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", value=memory.rss)
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", value=memory.vms)
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=process.create_time(),
        )
    with contextlib.suppress(psutil.Error):
        yield GaugeMetricFamily("process_open_fds", "Number of open file descriptors.", value=process.num_fds())
    yield GaugeMetricFamily(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        value=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )
