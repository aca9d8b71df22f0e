"""The receiver as a function: one per stack, behind one URL, with the registry that it looks endpoints up in."""

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.aws import names, package, policies
from components.aws.account import Account, tags
from components.aws.lake import Lake
from components.aws.roles import JobRole
from components.settings import Settings
from receiver.aws import OVERSIZED

HANDLER = "receiver.aws.handler.handle"
MEMORY_MB = 512  # CPU comes with it, and the first delivery of an instance waits for the imports
TIMEOUT_S = 15  # the function answers within 3.4 s by itself; Lambda's own end of it would be a 502


class ReceiverFunction(pulumi.ComponentResource):
    """Lambda function, its URL, and the DynamoDB table of the live endpoints."""

    name: Output[str]
    log_group: Output[str]
    registry: Output[str]
    url: Output[str]
    """Where senders reach it, without a path."""

    def __init__(
        self, settings: Settings, account: Account, lake: Lake, stack_id: str, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("sluice:index:ReceiverFunction", "sluice-receiver", None, opts)
        own = ResourceOptions(parent=self)
        registry = aws.dynamodb.Table(
            "sluice-registry",
            hash_key="hash",
            attributes=[aws.dynamodb.TableAttributeArgs(name="hash", type="S")],
            billing_mode="PAY_PER_REQUEST",
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            server_side_encryption=aws.dynamodb.TableServerSideEncryptionArgs(enabled=True),
            deletion_protection_enabled=settings.protect,
            tags=tags(),
            opts=own,
        )
        log_group = aws.cloudwatch.LogGroup(
            "sluice-receiver", retention_in_days=settings.log_retention_days, tags=tags(), opts=own
        )
        role = JobRole(
            "sluice-receiver",
            trust=policies.trust("lambda"),
            may=policies.function(
                registry_arn=registry.arn,
                streams_arn=account.arn("firehose", "deliverystream/", names.stream(stack_id, "*")),
                parameters_arn=account.arn("ssm", "parameter", names.signing_keys(stack_id, "*")),
                oversized_arn=Output.concat(lake.bucket.arn, "/", OVERSIZED, "*"),
                log_group_arn=log_group.arn,
            ),
            tags=tags(),
            parent=self,
        )
        function = aws.lambda_.Function(
            "sluice-receiver",
            description="Answers senders' deliveries and hands their events to Firehose",
            role=role.arn,
            runtime=settings.function_runtime,
            architectures=[settings.function_architecture],
            handler=HANDLER,
            code=package.archive(settings.function_architecture),
            memory_size=MEMORY_MB,
            timeout=TIMEOUT_S,
            reserved_concurrent_executions=settings.reserved_concurrency,
            environment=aws.lambda_.FunctionEnvironmentArgs(
                variables={"SLUICE_REGISTRY": registry.name, "SLUICE_BUCKET": lake.bucket.bucket}
            ),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(
                log_format="JSON",
                application_log_level="INFO",
                system_log_level="WARN",  # START, END and REPORT lines would cost more than the function
                log_group=log_group.name,
            ),
            tags=tags(),
            opts=ResourceOptions(parent=self, depends_on=[role.policy]),
        )
        url = aws.lambda_.FunctionUrl(
            "sluice-receiver",
            function_name=function.name,
            authorization_type="NONE",  # the token in the path is what a sender proves itself with
            # An address that is gone can't be had again, and every sender has it.
            opts=ResourceOptions(parent=self, protect=settings.protect),
        )
        # A public URL needs both (AWS Lambda, "Control access to Lambda function URLs", since October 2025).
        self.open = [
            aws.lambda_.Permission(
                "sluice-receiver-url",
                function=function.name,
                action="lambda:InvokeFunctionUrl",
                principal="*",
                function_url_auth_type="NONE",
                opts=own,
            ),
            aws.lambda_.Permission(
                "sluice-receiver-invoke",
                function=function.name,
                action="lambda:InvokeFunction",
                principal="*",
                invoked_via_function_url=True,
                opts=own,
            ),
        ]
        self.name = function.name
        self.log_group = log_group.name
        self.registry = registry.name
        self.url = url.function_url.apply(lambda address: address.rstrip("/"))
        self.register_outputs({"url": self.url})
