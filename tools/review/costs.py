"""What a month costs whether or not an event comes: by resource type, in US dollars.

AWS's list prices of eu-west-1 and us-east-1 (aws.amazon.com/cloudwatch/pricing). Everything else that a stack has
costs by use: about $0.4 for a million events (docs/aws.md).
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from tools.review.plan import Step

MONTHLY: Mapping[str, tuple[str, float]] = {
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("alarm", 0.10),
    "aws:cloudwatch/dashboard:Dashboard": ("dashboard", 3.00),  # the first three of an account are free
}
"""By type: what it is called, and its price."""


def changes(steps: Iterable[Step]) -> list[str]:
    """One line for each integration, and one for the platform, whose fixed cost changes; with its reason."""
    counted: dict[str, Counter[str]] = {}
    for step in steps:
        sign = {"create": 1, "delete": -1}.get(step.op, 0)
        if sign and step.type in MONTHLY:
            counted.setdefault(step.schema or "", Counter())[step.type] += sign
    lines = []
    for schema, types in sorted(counted.items()):
        total = sum(MONTHLY[type_][1] * count for type_, count in types.items())
        parts = [f"{count:+d} {MONTHLY[type_][0]}{'s' if abs(count) != 1 else ''}" for type_, count in types.items()]
        whose = f"`{schema}`" if schema else "the platform"
        if total:
            lines.append(f"{whose}: {'+' if total > 0 else '−'}${abs(total):.2f} a month ({', '.join(parts)})")
    return lines
