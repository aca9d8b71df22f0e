"""The stack's dashboard: what comes in, what is refused, how far the tables are behind. Pure: names in, JSON out.

It shows the facts of the local status page, under the same names (`receiver.words`), as far as AWS's metrics know them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from receiver.aws.log import UNUSABLE
from receiver.words import ACCEPTED, LOADED, LOADER_LAG, REFUSED, REJECTED

WIDTH, HEIGHT = 12, 6  # two widgets in a row of CloudWatch's 24 columns

BY_REASON = (
    f'filter message = "{UNUSABLE}" | stats count(*) as {REJECTED}, max(@timestamp) as last by schema, reason'
    f" | sort {REJECTED} desc | limit 50"
)
"""CloudWatch Logs Insights, over the function's log: it says why a delivery was no event, which no metric does."""


def body(*, region: str, function: str, log_group: str, streams: Mapping[str, str]) -> str:
    """The dashboard's source. `streams`: the delivery stream of each schema."""
    refused = {"label": f"{REFUSED}: 401, or no POST to such a path, or too large"}
    unavailable = {"label": "not ready: 503, or 502"}
    widgets = [
        _graph(
            "Deliveries, whatever the answer",
            region,
            [_lambda(metric, function) for metric in ("UrlRequestCount", "Invocations")],
        ),
        _graph(
            f"{REFUSED.capitalize()} (4xx), not ready (5xx)",
            region,
            [_lambda("Url4xxCount", function, **refused), _lambda("Url5xxCount", function, **unavailable)],
        ),
        _graph("Function errors and throttles", region, [_lambda(m, function) for m in ("Errors", "Throttles")]),
        _graph("Milliseconds to answer, p99", region, [_lambda("UrlRequestLatency", function, stat="p99")]),
        _graph(
            f"{ACCEPTED.capitalize()}: deliveries answered 200", region, _of_each(streams, "IncomingRecords", "Sum")
        ),
        _graph(
            f"{LOADED.capitalize()}: rows in data, and {REJECTED} ones in _sdc_rejected",
            region,
            _of_each(streams, "DeliveryToIceberg.SuccessfulRowCount", "Sum"),
        ),
        _graph(
            f"{LOADER_LAG.capitalize()}: seconds that the oldest event has waited",
            region,
            _of_each(streams, "DeliveryToIceberg.DataFreshness", "Maximum"),
        ),
        _graph(
            "Undelivered: rows below errors/ in the bucket",
            region,
            _of_each(streams, "DeliveryToIceberg.FailedRowCount", "Sum"),
        ),
    ]
    if streams:
        widgets.append(_table(f"{REJECTED.capitalize()}, by reason", region, log_group, BY_REASON))
    # CloudWatch refuses a graph of nothing.
    widgets = [widget for widget in widgets if widget["properties"].get("metrics") != []]
    for number, widget in enumerate(widgets):
        widget |= {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "width": WIDTH, "height": HEIGHT}
    return json.dumps({"widgets": widgets})


def _graph(title: str, region: str, metrics: Sequence[Sequence[Any]]) -> dict[str, Any]:
    properties = {"title": title, "region": region, "metrics": metrics, "period": 300, "view": "timeSeries"}
    return {"type": "metric", "properties": properties}


def _table(title: str, region: str, log_group: str, query: str) -> dict[str, Any]:
    properties = {"title": title, "region": region, "query": f"SOURCE '{log_group}' | {query}", "view": "table"}
    return {"type": "log", "properties": properties}


def _lambda(metric: str, function: str, stat: str = "Sum", **more: str) -> list[Any]:
    return ["AWS/Lambda", metric, "FunctionName", function, {"stat": stat, **more}]


def _of_each(streams: Mapping[str, str], metric: str, stat: str) -> list[list[Any]]:
    return [
        ["AWS/Firehose", metric, "DeliveryStreamName", stream, {"stat": stat, "label": schema}]
        for schema, stream in streams.items()
    ]
