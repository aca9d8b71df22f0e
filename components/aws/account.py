"""Where on AWS the stack is, and the ARNs that follow from it."""

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output


class Account:
    """The account and region of the stack's `aws` provider."""

    id: Output[str]
    region: Output[str]

    def __init__(self) -> None:
        self.id = aws.get_caller_identity_output().account_id
        self.region = aws.get_region_output().region
        self._partition = aws.get_partition_output().partition

    def arn(self, service: str, *resource: Input[str]) -> Output[str]:
        """An ARN of this account and region; `resource` are the parts of its last field."""
        return Output.concat("arn:", self._partition, ":", service, ":", self.region, ":", self.id, ":", *resource)


def tags(**more: Input[str]) -> dict[str, Input[str]]:
    """What every resource that can be tagged carries: where it is declared."""
    stack: dict[str, Input[str]] = {"sluice:project": pulumi.get_project(), "sluice:stack": pulumi.get_stack()}
    return {**stack, **{f"sluice:{name}": value for name, value in more.items()}}
