"""What wakes somebody: alarms to one SNS topic per stack, each with a text that says what to do."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.aws.account import tags
from components.settings import Settings
from receiver.words import LOADER_LAG, silence

PERIOD_S = 300
FRESHNESS_S = 900  # Firehose's own buffering and retries are over long before
HOUR_S = 3600


class Alarms:
    """The topic, and the alarms of the function. An integration adds its own (`of_stream`)."""

    topic_arn: Output[str]

    def __init__(self, settings: Settings) -> None:
        # Not encrypted: CloudWatch can't publish to a topic under AWS's own key, and an alarm holds no data.
        topic = aws.sns.Topic("sluice-alarms", tags=tags())
        if settings.alarm_email:
            aws.sns.TopicSubscription(
                "sluice-alarms",
                topic=topic.arn,
                protocol="email",
                endpoint=settings.alarm_email,
                opts=ResourceOptions(parent=topic),
            )
        self.topic_arn = topic.arn

    def of_function(self, function: Input[str], parent: pulumi.Resource) -> None:
        """Any of these three costs a sender an hour, or shows that one has to try again."""
        for name, metric, meaning in (
            ("errors", "Errors", "The function raised or ran out of time, which answers 502: see its log group"),
            ("throttles", "Throttles", "Lambda answered 429: raise the account's or the stack's concurrency"),
            ("url-5xx", "Url5xxCount", "Deliveries were answered 5xx; senders try again. See the function's log group"),
        ):
            self._alarm(
                f"sluice-receiver-{name}",
                meaning,
                namespace="AWS/Lambda",
                metric=metric,
                dimensions={"FunctionName": function},
                tags=tags(),
                parent=parent,
            )

    def of_stream(
        self, schema: str, stream: Input[str], *, max_silence_hours: int | None, parent: pulumi.Resource
    ) -> None:
        """An integration's: its stream is late, can't deliver, or (where its owner said how long it may) is silent."""
        dimensions = {"DeliveryStreamName": stream}
        own = tags(schema=schema)
        self._alarm(
            f"{schema}-late",
            f"The {LOADER_LAG} of {schema} is more than {FRESHNESS_S // 60} minutes: its events wait in Firehose",
            namespace="AWS/Firehose",
            metric="DeliveryToIceberg.DataFreshness",
            dimensions=dimensions,
            statistic="Maximum",
            threshold=FRESHNESS_S,
            tags=own,
            parent=parent,
        )
        self._alarm(
            f"{schema}-undelivered",
            f"Events of {schema} could not be written to their table; they are below errors/{schema}/ in the bucket",
            namespace="AWS/Firehose",
            metric="DeliveryToIceberg.FailedRowCount",
            dimensions=dimensions,
            tags=own,
            parent=parent,
        )
        if max_silence_hours is not None:
            self._alarm(
                f"{schema}-silent",
                silence(schema, max_silence_hours, max_silence_hours),
                namespace="AWS/Firehose",
                metric="IncomingRecords",
                dimensions=dimensions,
                comparison="LessThanThreshold",
                threshold=1,
                period_s=HOUR_S,
                periods=max_silence_hours,
                missing="breaching",
                tags=own,
                parent=parent,
            )

    def _alarm(
        self,
        name: str,
        meaning: str,
        *,
        namespace: str,
        metric: str,
        dimensions: Mapping[str, Input[str]],
        tags: Mapping[str, Input[str]],
        parent: pulumi.Resource,
        statistic: str = "Sum",
        comparison: str = "GreaterThanThreshold",
        threshold: float = 0,
        period_s: int = PERIOD_S,
        periods: int = 1,
        missing: str = "notBreaching",
    ) -> None:
        aws.cloudwatch.MetricAlarm(
            name,
            alarm_description=meaning,
            namespace=namespace,
            metric_name=metric,
            dimensions=dimensions,
            statistic=statistic,
            comparison_operator=comparison,
            threshold=threshold,
            period=period_s,
            evaluation_periods=periods,
            treat_missing_data=missing,
            alarm_actions=[self.topic_arn],
            ok_actions=[self.topic_arn],
            tags=tags,
            opts=ResourceOptions(parent=parent),
        )
