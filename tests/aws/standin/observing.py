"""CloudWatch logs, alarms and dashboards; SNS topics and subscriptions."""

import json
from typing import ClassVar

from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi, tag_list
from tests.aws.standin.tables import Properties, from_boto


class LogGroup(Resource):
    token = "aws:cloudwatch/logGroup:LogGroup"
    service, operation = "logs", "CreateLogGroup"
    arguments: ClassVar = {
        "name": "logGroupName",
        "kmsKeyId": "kmsKeyId",
        "logGroupClass": "logGroupClass",
        "retentionInDays": None,
        "skipDestroy": None,
        "tags": None,
    }
    replaces = frozenset({"name", "logGroupClass"})
    computed = frozenset({"logGroupClass"})
    outputs = frozenset({"arn"})
    name = AutoName()
    tag_api = TagApi("resourceArn", given="tags", keys="tagKeys", found="tags", as_list=False)

    def create(self, aws: Aws, inputs: Properties) -> str:
        tags = {"tags": tags} if (tags := self.tagged(inputs)) else {}
        aws.client("logs").create_log_group(**self.request(inputs), **tags)
        self._retain(aws, inputs)
        return str(inputs["name"])

    def _retain(self, aws: Aws, inputs: Properties) -> None:
        group = {"logGroupName": inputs["name"]}
        if days := inputs.get("retentionInDays"):
            aws.client("logs").put_retention_policy(**group, retentionInDays=days)
        else:
            aws.client("logs").delete_retention_policy(**group)

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        for page in aws.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=identity):
            for group in page["logGroups"]:
                if group["logGroupName"] == identity:
                    found = from_boto(self.arguments, group)
                    days = group.get("retentionInDays", 0)
                    return {**found, "retentionInDays": days, "arn": group["arn"].removesuffix(":*")}
        return None

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        self._retain(aws, new)
        if old.get("kmsKeyId") != new.get("kmsKeyId"):
            if new.get("kmsKeyId"):
                aws.client("logs").associate_kms_key(logGroupName=identity, kmsKeyId=new["kmsKeyId"])
            else:
                aws.client("logs").disassociate_kms_key(logGroupName=identity)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        if not state.get("skipDestroy"):
            aws.client("logs").delete_log_group(logGroupName=identity)


class LogStream(Resource):
    token = "aws:cloudwatch/logStream:LogStream"
    service, operation = "logs", "CreateLogStream"
    arguments: ClassVar = {"name": "logStreamName", "logGroupName*": "logGroupName"}
    replaces = frozenset({"*"})
    outputs = frozenset({"arn"})
    name = AutoName()

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("logs").create_log_stream(**self.request(inputs))
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        group = state["logGroupName"]
        answer = aws.client("logs").describe_log_streams(logGroupName=group, logStreamNamePrefix=identity)
        for stream in answer["logStreams"]:
            if stream["logStreamName"] == identity:
                return {"name": identity, "logGroupName": group, "arn": stream["arn"]}
        return None

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("logs").delete_log_stream(logGroupName=state["logGroupName"], logStreamName=identity)


class MetricAlarm(Resource):
    token = "aws:cloudwatch/metricAlarm:MetricAlarm"
    service, operation = "cloudwatch", "PutMetricAlarm"
    arguments: ClassVar = {
        "name": "AlarmName",
        "alarmDescription": "AlarmDescription",
        "actionsEnabled": "ActionsEnabled",
        "alarmActions": "AlarmActions",
        "okActions": "OKActions",
        "insufficientDataActions": "InsufficientDataActions",
        "comparisonOperator*": "ComparisonOperator",
        "evaluationPeriods*": "EvaluationPeriods",
        "datapointsToAlarm": "DatapointsToAlarm",
        "metricName": "MetricName",
        "namespace": "Namespace",
        "dimensions": None,
        "period": "Period",
        "statistic": "Statistic",
        "extendedStatistic": "ExtendedStatistic",
        "threshold": "Threshold",
        "treatMissingData": "TreatMissingData",
        "unit": "Unit",
        "tags": None,
    }
    replaces = frozenset({"name"})
    outputs = frozenset({"arn"})
    name = AutoName()
    tag_api = TagApi("ResourceARN")

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        if isinstance(dimensions := inputs.get("dimensions"), dict):
            request["Dimensions"] = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        return request

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("cloudwatch").put_metric_alarm(**self.request(inputs), Tags=tag_list(self.tagged(inputs)))
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        alarms = aws.client("cloudwatch").describe_alarms(AlarmNames=[identity])["MetricAlarms"]
        if not alarms:
            return None
        dimensions = {pair["Name"]: pair["Value"] for pair in alarms[0].get("Dimensions", [])}
        found = from_boto(self.arguments, alarms[0])
        return {**found, "dimensions": dimensions, "arn": alarms[0]["AlarmArn"]}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        aws.client("cloudwatch").put_metric_alarm(**self.request(new))

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("cloudwatch").delete_alarms(AlarmNames=[identity])


class Dashboard(Resource):
    token = "aws:cloudwatch/dashboard:Dashboard"
    service, operation = "cloudwatch", "PutDashboard"
    arguments: ClassVar = {"dashboardName*": "DashboardName", "dashboardBody*": "DashboardBody"}
    replaces = frozenset({"dashboardName"})
    outputs = frozenset({"dashboardArn"})
    documents = frozenset({"dashboardBody"})

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("cloudwatch").put_dashboard(**self.request(inputs))
        return str(inputs["dashboardName"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = aws.client("cloudwatch").get_dashboard(DashboardName=identity)
        return {**from_boto(self.arguments, answer), "dashboardArn": answer["DashboardArn"]}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        self.create(aws, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("cloudwatch").delete_dashboards(DashboardNames=[identity])


class Topic(Resource):
    token = "aws:sns/topic:Topic"
    service, operation = "sns", "CreateTopic"
    arguments: ClassVar = {
        "name": "Name",
        "displayName": "Attributes.DisplayName",
        "kmsMasterKeyId": "Attributes.KmsMasterKeyId",
        "policy": "Attributes.Policy",
        "tags": None,
    }
    replaces = frozenset({"name"})
    computed = frozenset({"policy"})
    outputs = frozenset({"arn", "owner"})
    documents = frozenset({"policy"})
    name = AutoName()
    tag_api = TagApi("ResourceArn")

    def create(self, aws: Aws, inputs: Properties) -> str:
        tags = tag_list(self.tagged(inputs))
        return str(aws.client("sns").create_topic(**self.request(inputs), Tags=tags)["TopicArn"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = aws.client("sns").get_topic_attributes(TopicArn=identity)
        name = {"name": identity.rsplit(":", 1)[-1], "arn": identity, "owner": answer["Attributes"].get("Owner")}
        return {"displayName": None, "kmsMasterKeyId": None, **from_boto(self.arguments, answer), **name}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        had, wanted = (self.request(values).get("Attributes", {}) for values in (old, new))
        for name in {*had, *wanted}:
            if had.get(name) != wanted.get(name):
                aws.client("sns").set_topic_attributes(
                    TopicArn=identity, AttributeName=name, AttributeValue=wanted.get(name, "")
                )

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("sns").delete_topic(TopicArn=identity)


class TopicSubscription(Resource):
    token = "aws:sns/topicSubscription:TopicSubscription"
    service, operation = "sns", "Subscribe"
    arguments: ClassVar = {
        "topic*": "TopicArn",
        "protocol*": "Protocol",
        "endpoint*": "Endpoint",
        "filterPolicy": None,
        "rawMessageDelivery": None,
    }
    replaces = frozenset({"topic", "protocol", "endpoint"})
    outputs = frozenset({"arn", "pendingConfirmation"})
    documents = frozenset({"filterPolicy"})

    def _attributes(self, inputs: Properties) -> dict[str, str]:
        attributes = {"FilterPolicy": inputs.get("filterPolicy")}
        if inputs.get("rawMessageDelivery") is not None:
            attributes["RawMessageDelivery"] = json.dumps(inputs["rawMessageDelivery"])
        return {name: value for name, value in attributes.items() if value is not None}

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = {**self.request(inputs), "Attributes": self._attributes(inputs), "ReturnSubscriptionArn": True}
        return str(aws.client("sns").subscribe(**request)["SubscriptionArn"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        there = aws.client("sns").get_subscription_attributes(SubscriptionArn=identity)["Attributes"]
        return {
            **from_boto(self.arguments, there),
            "filterPolicy": there.get("FilterPolicy"),
            "rawMessageDelivery": there.get("RawMessageDelivery") == "true",
            "arn": identity,
            "pendingConfirmation": there.get("PendingConfirmation") == "true",
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        wanted = {"FilterPolicy": "", "RawMessageDelivery": "false", **self._attributes(new)}
        for name, value in wanted.items():
            aws.client("sns").set_subscription_attributes(
                SubscriptionArn=identity, AttributeName=name, AttributeValue=value
            )

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("sns").unsubscribe(SubscriptionArn=identity)
