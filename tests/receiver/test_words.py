"""The same facts under the same names: the status page and the metrics of a receiver that runs, and AWS's dashboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.aws import dashboard
from receiver import words
from receiver.registry import Registry, SchemaEntry
from tests.receiver import running
from tests.receiver.admin import get
from tests.receiver.running import SCHEMA, Running, event, register, set_setting, start
from tests.support.postgres import free_port

ON_BOTH = {
    words.ACCEPTED: "IncomingRecords",
    words.LOADED: "DeliveryToIceberg.SuccessfulRowCount",
    words.LOADER_LAG: "DeliveryToIceberg.DataFreshness",
    words.REFUSED: "Url4xxCount",
}
"""Each fact that both platforms count, and AWS's metric of it."""


@pytest.fixture
def receiver(home: Path) -> Iterator[tuple[Running, int]]:
    port = free_port()
    set_setting(home, "admin_port", port)
    with Registry(home / "registry.db") as registry:
        registry.put_schema(SchemaEntry(SCHEMA, "Stitch Customer.io", "customerio", "upsert"))
    path = register(home)
    with running.ended(start(home)) as started:
        assert started.post(path, event("one")).status == 200
        yield started, port


def widgets() -> dict[str, dict[str, Any]]:
    """The dashboard's graphs and tables by title, with an integration."""
    body = dashboard.body(region="eu-west-1", function="f", log_group="g", streams={SCHEMA: "stream"})
    return {each["properties"]["title"]: each["properties"] for each in json.loads(body)["widgets"]}


def test_a_fact_has_one_name_on_the_page_in_the_metrics_and_on_the_dashboard(receiver: tuple[Running, int]) -> None:
    _, port = receiver
    page = get(port, "/").body.decode().lower()
    shown = {*re.findall(r"<dt>([^<]*)</dt>", page), *re.findall(r"<th>([^<]*)</th>", page)}
    assert {*ON_BOTH, words.REJECTED, words.WAITING, words.LAST_EVENT, words.LAST_USED} <= shown
    metrics = {family.name for family in text_string_to_metric_families(get(port, "/metrics").body.decode())}
    for word in (*ON_BOTH, words.REJECTED):
        assert [name for name in metrics if name.startswith(f"sluice_{word.replace(' ', '_')}")], word
    assert [name for name in metrics if words.LAST_USED.replace(" ", "_") in name]
    for word, metric in ON_BOTH.items():
        (graph,) = [each for title, each in widgets().items() if title.lower().startswith(word)]
        assert metric in {each[1] for each in graph["metrics"]}, word
    (table,) = [each for title, each in widgets().items() if title.lower().startswith(words.REJECTED)]
    assert f"as {words.REJECTED}" in table["query"]
