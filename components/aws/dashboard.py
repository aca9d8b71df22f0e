"""The stack's dashboard: what comes in, what is refused, how far the tables are behind. Pure: names in, JSON out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 12, 6  # two widgets in a row of CloudWatch's 24 columns


def body(*, region: str, function: str, streams: Mapping[str, str]) -> str:
    """The dashboard's source. `streams`: the delivery stream of each schema."""
    widgets = [
        _graph("Requests", region, [_lambda(metric, function) for metric in ("UrlRequestCount", "Invocations")]),
        _graph(
            "Refused (4xx), unavailable (5xx)", region, [_lambda(m, function) for m in ("Url4xxCount", "Url5xxCount")]
        ),
        _graph("Function errors and throttles", region, [_lambda(m, function) for m in ("Errors", "Throttles")]),
        _graph("Milliseconds to answer, p99", region, [_lambda("UrlRequestLatency", function, stat="p99")]),
        _graph("Events taken", region, _of_each(streams, "IncomingRecords", "Sum")),
        _graph("Rows delivered", region, _of_each(streams, "DeliveryToIceberg.SuccessfulRowCount", "Sum")),
        _graph(
            "Seconds that the oldest event waits",
            region,
            _of_each(streams, "DeliveryToIceberg.DataFreshness", "Maximum"),
        ),
        _graph(
            "Rows that could not be delivered", region, _of_each(streams, "DeliveryToIceberg.FailedRowCount", "Sum")
        ),
    ]
    # CloudWatch refuses a graph of nothing.
    widgets = [widget for widget in widgets if widget["properties"]["metrics"]]
    for number, widget in enumerate(widgets):
        widget |= {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "width": WIDTH, "height": HEIGHT}
    return json.dumps({"widgets": widgets})


def _graph(title: str, region: str, metrics: Sequence[Sequence[Any]]) -> dict[str, Any]:
    properties = {"title": title, "region": region, "metrics": metrics, "period": 300, "view": "timeSeries"}
    return {"type": "metric", "properties": properties}


def _lambda(metric: str, function: str, stat: str = "Sum") -> list[Any]:
    return ["AWS/Lambda", metric, "FunctionName", function, {"stat": stat}]


def _of_each(streams: Mapping[str, str], metric: str, stat: str) -> list[list[Any]]:
    return [
        ["AWS/Firehose", metric, "DeliveryStreamName", stream, {"stat": stat, "label": schema}]
        for schema, stream in streams.items()
    ]
