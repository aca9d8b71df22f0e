"""Who may do what: one document for each job, with no wildcard action, and no wildcard resource where an ARN exists.

Plain documents whose strings may be Outputs: `Output.json_dumps` makes the text. Sources: AWS, "Grant Firehose access
to an Apache Iceberg Tables destination"; "Table optimization prerequisites" (Glue); "Access control for function URLs".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi import Input, Output

from receiver.aws import USED

Document = Mapping[str, Any]


def _document(*statements: Mapping[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: Sequence[str], resources: Sequence[Input[str]], **more: Any) -> Mapping[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources), **more}


def trust(service: str, external_id: Input[str] | None = None) -> Document:
    """Lets an AWS service take a role; with `external_id` only where the service names that account (Firehose does: its
    guide and the plugin's own tests have it; Glue's optimizers and Lambda are documented without a condition)."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
    }
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return _document(statement)


def tls_only(bucket_arn: Input[str]) -> Document:
    """Refuses every request to the bucket that comes over plain HTTP."""
    return _document(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, Output.concat(bucket_arn, "/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def function(
    *,
    registry_arn: Input[str],
    streams_arn: Input[str],
    parameters_arn: Input[str],
    oversized_arn: Input[str],
    log_group_arn: Input[str],
) -> Document:
    """The function: looks endpoints up, notes their last use beside them, hands events over, and logs."""
    return _document(
        _allow(["dynamodb:GetItem"], [registry_arn]),
        _allow(
            ["dynamodb:UpdateItem"],
            [registry_arn],
            Condition={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{USED}*"]}},
        ),
        _allow(["firehose:PutRecordBatch"], [streams_arn]),
        _allow(["ssm:GetParameter"], [parameters_arn]),
        _allow(["s3:PutObject"], [oversized_arn]),
        _allow(["logs:CreateLogStream", "logs:PutLogEvents"], [Output.concat(log_group_arn, ":*")]),
    )


def stream(
    *,
    bucket_arn: Input[str],
    folders: Sequence[str],
    glue_arns: Sequence[Input[str]],
    log_stream_arn: Input[str],
) -> Document:
    """A delivery stream: appends to the tables of one schema, and keeps what it couldn't deliver."""
    return _document(
        _allow(["glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"], glue_arns),
        *_folders(bucket_arn, folders),
        _allow(["logs:PutLogEvents"], [log_stream_arn]),
    )


def optimizer(
    *, bucket_arn: Input[str], folders: Sequence[str], glue_arns: Sequence[Input[str]], log_arn: Input[str]
) -> Document:
    """Glue's table optimizers: rewrite the small files of one schema's tables into larger ones."""
    return _document(
        _allow(["glue:GetTable", "glue:UpdateTable"], glue_arns),
        *_folders(bucket_arn, folders),
        _allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], [log_arn]),
    )


def _folders(bucket_arn: Input[str], folders: Sequence[str]) -> list[Mapping[str, Any]]:
    return [
        _allow(
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [Output.concat(bucket_arn, "/", folder, "*") for folder in folders],
        ),
        _allow(["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], [bucket_arn]),
    ]
