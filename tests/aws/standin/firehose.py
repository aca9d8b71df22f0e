"""Firehose delivery streams into Iceberg tables, the only destination that is copied."""

from typing import ClassVar

from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi, tag_list
from tests.aws.standin.tables import Properties, from_boto, has_unknown, to_boto

LOGGING = (
    "CloudWatchLoggingOptions",
    {"enabled": "Enabled", "logGroupName": "LogGroupName", "logStreamName": "LogStreamName"},
)
BUFFERING = {"bufferingInterval": "BufferingHints.IntervalInSeconds", "bufferingSize": "BufferingHints.SizeInMBs"}
DESTINATION = "IcebergDestinationConfiguration"
DEFAULTS = {"bufferingInterval": 300, "bufferingSize": 5}
"""What the real provider sends where nothing is given (`firehose/delivery_stream.go`)."""

ICEBERG = {
    "catalogArn*": "CatalogConfiguration.CatalogARN",
    "roleArn*": "RoleARN",
    "appendOnly": "AppendOnly",
    **BUFFERING,
    "retryDuration": "RetryOptions.DurationInSeconds",
    "s3BackupMode": "S3BackupMode",
    "cloudwatchLoggingOptions": LOGGING,
    "destinationTableConfigurations": (
        "DestinationTableConfigurationList",
        [
            {
                "databaseName*": "DestinationDatabaseName",
                "tableName*": "DestinationTableName",
                "uniqueKeys": "UniqueKeys",
                "s3ErrorOutputPrefix": "S3ErrorOutputPrefix",
            }
        ],
    ),
    "processingConfiguration": (
        "ProcessingConfiguration",
        {
            "enabled": "Enabled",
            "processors": (
                "Processors",
                [
                    {
                        "type*": "Type",
                        "parameters": (
                            "Parameters",
                            [{"parameterName*": "ParameterName", "parameterValue*": "ParameterValue"}],
                        ),
                    }
                ],
            ),
        },
    ),
    "s3Configuration*": (
        "S3Configuration",
        {
            "bucketArn*": "BucketARN",
            "roleArn*": "RoleARN",
            "prefix": "Prefix",
            "errorOutputPrefix": "ErrorOutputPrefix",
            "compressionFormat": "CompressionFormat",
            "kmsKeyArn": "EncryptionConfiguration.KMSEncryptionConfig.AWSKMSKeyARN",
            "cloudwatchLoggingOptions": LOGGING,
            **BUFFERING,
        },
    ),
}


class FirehoseDeliveryStream(Resource):
    token = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
    service, operation = "firehose", "CreateDeliveryStream"
    arguments: ClassVar = {
        "name": "DeliveryStreamName",
        "destination*": None,
        "icebergConfiguration*": (DESTINATION, ICEBERG),
        "serverSideEncryption": (None, {"enabled": None, "keyType": None, "keyArn": None}),
        "tags": None,
    }
    replaces = frozenset({"name", "destination", "icebergConfiguration.appendOnly", "icebergConfiguration.catalogArn"})
    outputs = frozenset({"arn", "versionId", "destinationId"})
    name = AutoName()
    tag_api = TagApi(
        "DeliveryStreamName",
        add="tag_delivery_stream",
        remove="untag_delivery_stream",
        read="list_tags_for_delivery_stream",
    )

    def tag_owner(self, identity: str, state: Properties) -> str:
        return _name(identity)

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        known = inputs.get("destination") == "iceberg" or has_unknown(inputs.get("destination"))
        return [] if known else [("destination", "the stand-in for the AWS plugin knows only the destination iceberg")]

    def request(self, inputs: Properties) -> Properties:
        iceberg = inputs.get("icebergConfiguration")
        if isinstance(iceberg, dict):
            iceberg = {"retryDuration": 300, "s3BackupMode": "FailedDataOnly", **DEFAULTS, **iceberg}
            if isinstance(iceberg.get("s3Configuration"), dict):
                backup = {"compressionFormat": "UNCOMPRESSED", **DEFAULTS, **iceberg["s3Configuration"]}
                iceberg["s3Configuration"] = backup
        return super().request({**inputs, "icebergConfiguration": iceberg})

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = {"DeliveryStreamType": "DirectPut", **self.request(inputs)}
        if tags := self.tagged(inputs):
            request["Tags"] = tag_list(tags)
        arn = aws.client("firehose").create_delivery_stream(**request)["DeliveryStreamARN"]
        self._encrypt(aws, inputs["name"], {}, inputs)
        return str(arn)

    def _encrypt(self, aws: Aws, name: str, old: Properties, new: Properties) -> None:
        wanted, had = new.get("serverSideEncryption") or {}, old.get("serverSideEncryption") or {}
        if wanted.get("enabled"):
            key = to_boto({"keyType": "KeyType", "keyArn": "KeyARN"}, {"keyType": "AWS_OWNED_CMK", **wanted})
            aws.client("firehose").start_delivery_stream_encryption(
                DeliveryStreamName=name, DeliveryStreamEncryptionConfigurationInput=key
            )
        elif had.get("enabled"):
            aws.client("firehose").stop_delivery_stream_encryption(DeliveryStreamName=name)

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        stream = aws.client("firehose").describe_delivery_stream(DeliveryStreamName=_name(identity))
        stream = stream["DeliveryStreamDescription"]
        destination = stream["Destinations"][0]
        iceberg = destination["IcebergDestinationDescription"]
        iceberg["S3Configuration"] = iceberg.get("S3DestinationDescription", {})
        encryption = stream.get("DeliveryStreamEncryptionConfiguration") or {}
        enabled = encryption.get("Status") in ("ENABLED", "ENABLING")
        return {
            "name": stream["DeliveryStreamName"],
            "destination": "iceberg",
            "icebergConfiguration": from_boto(ICEBERG, iceberg),
            "serverSideEncryption": {"enabled": enabled, "keyType": encryption.get("KeyType", "AWS_OWNED_CMK")},
            "arn": stream["DeliveryStreamARN"],
            "versionId": stream["VersionId"],
            "destinationId": destination["DestinationId"],
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        client, name = aws.client("firehose"), _name(identity)
        stream = client.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
        shape = client.meta.service_model.operation_model("UpdateDestination").input_shape
        takes = shape.members["IcebergDestinationUpdate"].members
        client.update_destination(
            DeliveryStreamName=name,
            CurrentDeliveryStreamVersionId=stream["VersionId"],
            DestinationId=stream["Destinations"][0]["DestinationId"],
            IcebergDestinationUpdate={
                key: told for key, told in self.request(new)[DESTINATION].items() if key in takes
            },
        )
        if old.get("serverSideEncryption") != new.get("serverSideEncryption"):
            self._encrypt(aws, name, old, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("firehose").delete_delivery_stream(DeliveryStreamName=_name(identity))


def _name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]
