"""A job's role, with the one policy that says what the job may do."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.aws.policies import Document

POLICY = "job"  # a role's only policy: by this name, one that a killed `up` left is put again and not doubled


class JobRole:
    """Not a resource of its own: a role and its policy, of one logical name, as children of `parent`.

    What the job is done with depends on `policy`: a role that may do nothing yet is there before it.
    """

    def __init__(
        self, name: str, *, trust: Document, may: Document, tags: Mapping[str, Input[str]], parent: pulumi.Resource
    ) -> None:
        opts = ResourceOptions(parent=parent)
        role = aws.iam.Role(name, assume_role_policy=Output.json_dumps(trust), tags=tags, opts=opts)
        self.arn = role.arn
        self.policy = aws.iam.RolePolicy(name, name=POLICY, role=role.name, policy=Output.json_dumps(may), opts=opts)
