"""IAM roles with their policies, SSM parameters, Athena workgroups, and statements for Redshift."""

import json
import time
from typing import ClassVar

from provider.resource import ResourceError
from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi, tag_list
from tests.aws.standin.tables import Properties, from_boto, names


class Role(Resource):
    token = "aws:iam/role:Role"
    service, operation = "iam", "CreateRole"
    arguments: ClassVar = {
        "name": "RoleName",
        "assumeRolePolicy*": "AssumeRolePolicyDocument",
        "description": "Description",
        "forceDetachPolicies": None,
        "maxSessionDuration": "MaxSessionDuration",
        "path": "Path",
        "permissionsBoundary": "PermissionsBoundary",
        "tags": None,
    }
    replaces = frozenset({"name", "path"})
    outputs = frozenset({"arn", "uniqueId", "createDate"})
    documents = frozenset({"assumeRolePolicy"})
    name = AutoName(longest=64)
    tag_api = TagApi("RoleName", add="tag_role", remove="untag_role", read="list_role_tags")

    def tag_owner(self, identity: str, state: Properties) -> str:
        return identity

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("iam").create_role(**self.request(inputs), Tags=tag_list(self.tagged(inputs)))
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        role = aws.client("iam").get_role(RoleName=identity)["Role"]
        role["PermissionsBoundary"] = (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
        role["AssumeRolePolicyDocument"] = json.dumps(role["AssumeRolePolicyDocument"])
        return {
            "description": None,
            "permissionsBoundary": None,
            **from_boto(self.arguments, role),
            "arn": role["Arn"],
            "uniqueId": role["RoleId"],
            "createDate": role["CreateDate"].isoformat(),
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        client, who = aws.client("iam"), {"RoleName": identity}
        client.update_assume_role_policy(**who, PolicyDocument=new["assumeRolePolicy"])
        longest = new.get("maxSessionDuration") or 3600
        client.update_role(**who, Description=new.get("description") or "", MaxSessionDuration=longest)
        if new.get("permissionsBoundary"):
            client.put_role_permissions_boundary(**who, PermissionsBoundary=new["permissionsBoundary"])
        elif old.get("permissionsBoundary"):
            client.delete_role_permissions_boundary(**who)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("iam").delete_role(RoleName=identity)


class RolePolicy(Resource):
    token = "aws:iam/rolePolicy:RolePolicy"
    service, operation = "iam", "PutRolePolicy"
    arguments: ClassVar = {"name": "PolicyName", "role*": "RoleName", "policy*": "PolicyDocument"}
    replaces = frozenset({"name", "role"})
    documents = frozenset({"policy"})
    name = AutoName()

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("iam").put_role_policy(**self.request(inputs))
        return f"{inputs['role']}:{inputs['name']}"

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        role, name = identity.split(":", 1)
        answer = aws.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        return {"role": role, "name": name, "policy": json.dumps(answer["PolicyDocument"])}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        self.create(aws, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        role, name = identity.split(":", 1)
        aws.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


class Parameter(Resource):
    token = "aws:ssm/parameter:Parameter"
    service, operation = "ssm", "PutParameter"
    arguments: ClassVar = {
        "name": "Name",
        "type*": "Type",
        "value*": "Value",
        "description": "Description",
        "tier": "Tier",
        "keyId": "KeyId",
        "allowedPattern": "AllowedPattern",
        "dataType": "DataType",
        "overwrite": None,
        "tags": None,
    }
    replaces = frozenset({"name", "dataType"})
    computed = frozenset({"dataType", "keyId", "tier"})
    outputs = frozenset({"arn", "version"})
    secrets = frozenset({"value"})
    name = AutoName()
    tag_api = TagApi(
        "ResourceId",
        add="add_tags_to_resource",
        remove="remove_tags_from_resource",
        found="TagList",
        more={"ResourceType": "Parameter"},
    )

    def tag_owner(self, identity: str, state: Properties) -> str:
        return identity

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("ssm").put_parameter(
            **self.request(inputs), Overwrite=bool(inputs.get("overwrite")), Tags=tag_list(self.tagged(inputs))
        )
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        client = aws.client("ssm")
        there = client.get_parameter(Name=identity, WithDecryption=True)["Parameter"]
        wanted = [{"Key": "Name", "Option": "Equals", "Values": [identity]}]
        about = client.describe_parameters(ParameterFilters=wanted)["Parameters"][0]
        found = {"description": None, **from_boto(self.arguments, {**about, **there})}
        return {**found, "arn": there["ARN"], "version": there["Version"]}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        aws.client("ssm").put_parameter(**self.request(new), Overwrite=True)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("ssm").delete_parameter(Name=identity)


class Workgroup(Resource):
    token = "aws:athena/workgroup:Workgroup"
    service, operation = "athena", "CreateWorkGroup"
    arguments: ClassVar = {
        "name": "Name",
        "description": "Description",
        "state": None,
        "forceDestroy": None,
        "configuration": (
            "Configuration",
            {
                "bytesScannedCutoffPerQuery": "BytesScannedCutoffPerQuery",
                "enforceWorkgroupConfiguration": "EnforceWorkGroupConfiguration",
                "publishCloudwatchMetricsEnabled": "PublishCloudWatchMetricsEnabled",
                "requesterPaysEnabled": "RequesterPaysEnabled",
                "engineVersion": ("EngineVersion", {"selectedEngineVersion": "SelectedEngineVersion"}),
                "resultConfiguration": (
                    "ResultConfiguration",
                    {
                        "outputLocation": "OutputLocation",
                        "expectedBucketOwner": "ExpectedBucketOwner",
                        "encryptionConfiguration": (
                            "EncryptionConfiguration",
                            {"encryptionOption": "EncryptionOption", "kmsKeyArn": "KmsKey"},
                        ),
                    },
                ),
            },
        ),
        "tags": None,
    }
    replaces = frozenset({"name"})
    outputs = frozenset({"arn"})
    name = AutoName()
    tag_api = TagApi("ResourceARN")

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("athena").create_work_group(**self.request(inputs), Tags=tag_list(self.tagged(inputs)))
        if inputs.get("state") == "DISABLED":
            aws.client("athena").update_work_group(WorkGroup=inputs["name"], State="DISABLED")
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        there = aws.client("athena").get_work_group(WorkGroup=identity).get("WorkGroup")
        if not there:
            return None
        found = {"description": None, **from_boto(self.arguments, there)}
        return {**found, "state": there.get("State"), "arn": aws.arn("athena", f"workgroup/{identity}")}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        told = self.request(new)
        changed = told.get("Configuration") or {}
        if "ResultConfiguration" in changed:
            changed["ResultConfigurationUpdates"] = changed.pop("ResultConfiguration")
        aws.client("athena").update_work_group(
            WorkGroup=identity,
            Description=new.get("description") or "",
            State=new.get("state") or "ENABLED",
            ConfigurationUpdates=changed,
        )

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("athena").delete_work_group(
            WorkGroup=identity, RecursiveDeleteOption=bool(state.get("forceDestroy"))
        )


class Statement(Resource):
    """Runs once; a change of any argument runs another, and a delete does nothing."""

    token = "aws:redshiftdata/statement:Statement"
    service, operation = "redshift-data", "ExecuteStatement"
    arguments: ClassVar = {
        "clusterIdentifier": "ClusterIdentifier",
        "database*": "Database",
        "dbUser": "DbUser",
        "parameters": ("Parameters", [{"name*": "name", "value*": "value"}]),
        "secretArn": "SecretArn",
        "sql*": "Sql",
        "statementName": "StatementName",
        "withEvent": "WithEvent",
        "workgroupName": "WorkgroupName",
    }
    replaces = frozenset({"*"})
    computed = frozenset({"clusterIdentifier", "workgroupName"})

    def create(self, aws: Aws, inputs: Properties) -> str:
        client = aws.client("redshift-data")
        identity = str(client.execute_statement(**self.request(inputs))["Id"])
        for _ in range(100):
            answer = client.describe_statement(Id=identity)
            if answer["Status"] == "FINISHED":
                return identity
            if answer["Status"] in ("FAILED", "ABORTED"):
                break
            time.sleep(0.1)
        raise ResourceError(f"waiting for Redshift Data Statement ({identity}) finish: {answer.get('Error')}")

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = aws.client("redshift-data").describe_statement(Id=identity)
        known = from_boto({"sql": "QueryString", "secretArn": "SecretArn"}, answer)
        return {**{key: state[key] for key in names(self.arguments) if key in state}, **known}

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        """What was run can't be taken back."""
