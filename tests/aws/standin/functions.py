"""Lambda: functions, their URLs, and the permissions in their resource policies."""

import base64
import contextlib
import json
from pathlib import Path
from typing import Any, ClassVar

from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi
from tests.aws.standin.tables import Properties, differences, from_boto

CODE = {"Architectures", "Code"}
NOT_CONFIGURATION = CODE | {"FunctionName", "PackageType", "Tags"}
"""Parts of a creation that an update of the configuration doesn't take."""


class Function(Resource):
    """`codeZip` stands for `code` once an archive was packed (zips.py)."""

    token = "aws:lambda/function:Function"
    service, operation = "lambda", "CreateFunction"
    arguments: ClassVar = {
        "name": "FunctionName",
        "role*": "Role",
        "code": None,
        "codeZip": (None, {"zip": None, "sha256": None}),
        "sourceCodeHash": None,
        "s3Bucket": "Code.S3Bucket",
        "s3Key": "Code.S3Key",
        "handler": "Handler",
        "runtime": "Runtime",
        "description": "Description",
        "memorySize": "MemorySize",
        "timeout": "Timeout",
        "architectures": "Architectures",
        "packageType": "PackageType",
        "layers": "Layers",
        "kmsKeyArn": "KMSKeyArn",
        "environment": ("Environment", {"variables": "Variables"}),
        "ephemeralStorage": ("EphemeralStorage", {"size": "Size"}),
        "deadLetterConfig": ("DeadLetterConfig", {"targetArn*": "TargetArn"}),
        "tracingConfig": ("TracingConfig", {"mode*": "Mode"}),
        "loggingConfig": (
            "LoggingConfig",
            {
                "logFormat*": "LogFormat",
                "applicationLogLevel": "ApplicationLogLevel",
                "systemLogLevel": "SystemLogLevel",
                "logGroup": "LogGroup",
            },
        ),
        "reservedConcurrentExecutions": None,
        "skipDestroy": None,
        "tags": None,
    }
    replaces = frozenset({"name", "packageType"})
    computed = frozenset({"architectures", "ephemeralStorage", "loggingConfig", "sourceCodeHash", "tracingConfig"})
    outputs = frozenset({"arn", "invokeArn", "qualifiedArn", "version", "lastModified", "codeSha256", "sourceCodeSize"})
    name = AutoName(longest=64)
    tag_api = TagApi("Resource", read="list_tags", as_list=False)

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        if all(inputs.get(name) is None for name in ("code", "codeZip", "s3Bucket")):
            return [("code", "one of code, s3Bucket must be given")]
        return []

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        request.setdefault("Code", {"ZipFile": b"not packed yet"})
        return request

    def _code(self, inputs: Properties) -> Properties:
        if inputs.get("codeZip"):
            return {"ZipFile": Path(inputs["codeZip"]["zip"]).read_bytes()}
        return dict(self.request(inputs)["Code"])

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = {**self.request(inputs), "Code": self._code(inputs), "Tags": self.tagged(inputs)}
        aws.client("lambda").create_function(**request)
        self._reserve(aws, {}, inputs)
        return str(inputs["name"])

    def _reserve(self, aws: Aws, old: Properties, new: Properties) -> None:
        had, wanted = (values.get("reservedConcurrentExecutions", -1) for values in (old, new))
        if wanted not in (had, -1):
            aws.client("lambda").put_function_concurrency(FunctionName=new["name"], ReservedConcurrentExecutions=wanted)
        elif wanted != had:
            aws.client("lambda").delete_function_concurrency(FunctionName=new["name"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = aws.client("lambda").get_function(FunctionName=identity)
        there = answer["Configuration"]
        digest = base64.b64decode(there["CodeSha256"]).hex()
        zipped = state.get("codeZip") or {}
        arn = there["FunctionArn"]
        path = f"arn:{aws.partition}:apigateway:{aws.region}:lambda:path/2015-03-31/functions/{arn}/invocations"
        return {
            "environment": {"variables": {}},
            **from_boto(self.arguments, there),
            "codeZip": zipped if zipped.get("sha256") == digest else {"sha256": digest},
            "reservedConcurrentExecutions": (answer.get("Concurrency") or {}).get("ReservedConcurrentExecutions", -1),
            "arn": arn,
            "invokeArn": path,
            "qualifiedArn": f"{arn}:$LATEST",
            "version": "$LATEST",
            "lastModified": there["LastModified"],
            "codeSha256": there["CodeSha256"],
            "sourceCodeSize": there["CodeSize"],
        }

    def compared(self, values: Properties) -> Properties:
        compared = super().compared(values)
        if isinstance(zipped := compared.get("codeZip"), dict):
            compared["codeZip"] = {"sha256": zipped.get("sha256")}  # where the zip lies doesn't matter
        return compared

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        client, request, before = aws.client("lambda"), self.request(new), self.request(old)
        changed = {path.split(".")[0] for path, _ in differences(self.compared(old), self.compared(new))}
        told = {key: part for key, part in request.items() if key not in NOT_CONFIGURATION}
        told |= {key: UNSET[key] for key in before if key in UNSET and key not in told}
        client.update_function_configuration(FunctionName=identity, **told)  # first, as the real one does
        if changed & {"codeZip", "s3Bucket", "s3Key", "sourceCodeHash", "architectures"}:
            more = {"Architectures": request["Architectures"]} if "Architectures" in request else {}
            client.update_function_code(FunctionName=identity, **self._code(new), **more)
        self._reserve(aws, old, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        if not state.get("skipDestroy"):
            aws.client("lambda").delete_function(FunctionName=identity)


UNSET: dict[str, Any] = {
    "Description": "",
    "Environment": {"Variables": {}},
    "DeadLetterConfig": {"TargetArn": ""},
    "Layers": [],
    "MemorySize": 128,
    "Timeout": 3,
}
"""What an argument that was taken away is set back to."""

PUBLIC = "FunctionURLAllowPublicAccess"


class FunctionUrl(Resource):
    """For NONE the real provider adds a permission of its own, which it never takes away (`lambda/function_url.go`)."""

    token = "aws:lambda/functionUrl:FunctionUrl"
    service, operation = "lambda", "CreateFunctionUrlConfig"
    arguments: ClassVar = {
        "functionName*": "FunctionName",
        "authorizationType*": "AuthType",
        "invokeMode": "InvokeMode",
        "qualifier": "Qualifier",
        "cors": (
            "Cors",
            {
                "allowCredentials": "AllowCredentials",
                "allowHeaders": "AllowHeaders",
                "allowMethods": "AllowMethods",
                "allowOrigins": "AllowOrigins",
                "exposeHeaders": "ExposeHeaders",
                "maxAge": "MaxAge",
            },
        ),
    }
    replaces = frozenset({"functionName", "qualifier"})
    outputs = frozenset({"functionUrl", "functionArn", "urlId"})

    def create(self, aws: Aws, inputs: Properties) -> str:
        client, request = aws.client("lambda"), self.request(inputs)
        client.create_function_url_config(**request)
        if inputs["authorizationType"] == "NONE":
            with contextlib.suppress(client.exceptions.ResourceConflictException):
                client.add_permission(
                    FunctionName=inputs["functionName"],
                    Action="lambda:InvokeFunctionUrl",
                    FunctionUrlAuthType="NONE",
                    Principal="*",
                    StatementId=PUBLIC,
                )
        return "/".join(str(inputs[key]) for key in ("functionName", "qualifier") if inputs.get(key))

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = aws.client("lambda").get_function_url_config(**_whose(identity))
        return {
            **from_boto(self.arguments, answer),
            "functionName": state.get("functionName") or identity.split("/")[0],
            "functionUrl": answer["FunctionUrl"].rstrip("/") + "/",
            "functionArn": answer["FunctionArn"],
            "urlId": answer["FunctionUrl"].split("//")[1].split(".")[0],
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        aws.client("lambda").update_function_url_config(**self.request(new))

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("lambda").delete_function_url_config(**_whose(identity))


def _whose(identity: str) -> dict[str, str]:
    return dict(zip(("FunctionName", "Qualifier"), identity.split("/"), strict=False))


class Permission(Resource):
    token = "aws:lambda/permission:Permission"
    service, operation = "lambda", "AddPermission"
    arguments: ClassVar = {
        "function*": "FunctionName",
        "action*": "Action",
        "principal*": "Principal",
        "statementId": "StatementId",
        "functionUrlAuthType": "FunctionUrlAuthType",
        "invokedViaFunctionUrl": "InvokedViaFunctionUrl",
        "sourceArn": "SourceArn",
        "sourceAccount": "SourceAccount",
        "principalOrgId": "PrincipalOrgID",
        "eventSourceToken": "EventSourceToken",
        "qualifier": "Qualifier",
    }
    replaces = frozenset({"*"})
    name = AutoName("statementId", 100, unless="statementIdPrefix")

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("lambda").add_permission(**self.request(inputs))
        return str(inputs["statementId"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        policy = json.loads(aws.client("lambda").get_policy(FunctionName=state["function"])["Policy"])
        for statement in policy["Statement"]:
            if statement["Sid"] == identity:
                who = statement["Principal"]
                who = who if isinstance(who, str) else next(iter(who.values()))
                return {"statementId": identity, "action": statement["Action"], "principal": who}
        return None

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("lambda").remove_permission(FunctionName=state["function"], StatementId=identity)
