"""A moto server in a process of its own, with what moto lacks for us patched in, and with faults on request.

`python -m tests.aws.moto_server PORT RECORDS_FOLDER`, or `with MotoServer(folder) as moto: … moto.url`. In the folder:

- `<stream>.jsonl`: what a Firehose stream into Iceberg got, `{"id", "data"}` a line (`data64` where it isn't UTF-8)
- `iceberg/<database>.<table>.jsonl`: each Iceberg input of a Glue table, as it was given
- `redshift.jsonl`: the SQL that the Redshift Data API got
- `<stream>.fail`, `dynamodb.<table>.fail`, `redshift.fail`: a fault for the next calls (`MotoServer.fail`)
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.postgres import free_port

PROJECT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = "123456789012"


class MotoServer:
    """The server's process; `environment` is what boto3, and the stand-in, need to reach it."""

    def __init__(self, folder: Path, region: str = "eu-central-1") -> None:
        self.folder, self.region, self.port = folder, region, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        keys |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}  # not a developer's own
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region, **keys}

    def client(self, service: str) -> Any:
        """A boto3 client of this server, whatever the environment says."""
        import boto3
        from botocore.config import Config

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        config = Config(proxies={})
        return boto3.client(service, endpoint_url=self.url, region_name=self.region, config=config, **keys)

    def records(self, stream: str) -> list[str]:
        """The data of all records that a stream took, in order."""
        return [record["data"] for record in _lines(self.folder / f"{stream}.jsonl")]

    def iceberg_inputs(self, database: str, table: str) -> list[dict[str, Any]]:
        """The `IcebergInput` that made the table, then the `UpdateIcebergInput`s that changed it."""
        return _lines(self.folder / "iceberg" / f"{database}.{table}.jsonl")

    def post(self, path: str, body: str) -> None:
        """Tells moto itself something, such as the answer to the next query of Athena."""
        request = urllib.request.Request(f"{self.url}{path}", body.encode(), {"Content-Type": "application/json"})
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    def fail(self, what: str, mode: str, times: int = 1_000_000, seconds: float = 0) -> None:
        """The next calls fail. `what`: a stream, `dynamodb.<table>` (GetItem), `redshift`.

        mode: throttle, error (a 500), hang (for `seconds`, then goes on), partial (a stream's every second record).
        """
        path = self.folder / f"{what}.fail"
        half = path.with_suffix(".half")
        half.write_text(json.dumps({"mode": mode, "times": times, "seconds": seconds}))
        half.replace(path)

    def heal(self, what: str) -> None:
        (self.folder / f"{what}.fail").unlink(missing_ok=True)

    def start(self) -> "MotoServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "moto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.aws.moto_server", str(self.port), str(self.folder)],
                cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "MOTO_ACCOUNT_ID": ACCOUNT, **self.environment},
            )  # fmt: skip
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                direct.open(f"{self.url}/moto-api/data.json", timeout=5).close()
                return self
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"moto: {(self.folder / 'moto.log').read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Ends this server's own process, at once: nothing of it is worth saving."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "MotoServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Faults:
    """The faults that the `.fail` files ask for, and the files of what was received. Safe among threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()

    def take(self, what: str) -> str:
        """The mode of the fault that this call shall have, or nothing; a hang is over when this returns."""
        path = self._folder / f"{what}.fail"
        with self._lock:
            try:
                fault = json.loads(path.read_text())
            except FileNotFoundError:
                return ""
            left = fault.get("times", 1_000_000) - 1
            if left > 0:
                path.write_text(json.dumps({**fault, "times": left}))
            else:
                path.unlink(missing_ok=True)
        if fault["mode"] == "hang":
            time.sleep(fault.get("seconds", 60))
            return ""
        return str(fault["mode"])

    def write(self, name: str, *lines: Any) -> None:
        path = self._folder / name
        with self._lock:
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as out:
                out.write("".join(json.dumps(line) + "\n" for line in lines))


def injected(code: str, status: int, message: str = "injected by the test") -> Exception:
    """A service's error, with the HTTP status by which an SDK knows whether to try again."""
    from moto.core.exceptions import JsonRESTError

    error = JsonRESTError(code, message)
    error.code = status
    return error


def patch(faults: Faults) -> None:
    """All patches; each says what moto does without it (moto 5.2.5)."""
    patch_s3()
    patch_glue(faults)
    patch_optimizers()
    patch_firehose(faults)
    patch_dynamodb(faults)
    patch_lambda()
    patch_athena()
    patch_redshift(faults)


def patch_s3() -> None:
    """moto enforces bucket policies without their conditions: "deny what isn't TLS" would deny everything."""
    from moto.iam.access_control import IAMPolicy, PermissionResult
    from moto.s3.models import FakeBucket

    def get_permission(self: Any, action: str, resource: str) -> Any:
        policy = json.loads(self.policy) if self.policy else {}
        statements = [said for said in policy.get("Statement", []) if "aws:SecureTransport" not in json.dumps(said)]
        if not statements:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps({**policy, "Statement": statements})).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission  # type: ignore[method-assign]


def patch_glue(faults: Faults) -> None:
    """moto answers 500 to CreateTable and UpdateTable without a TableInput, as Iceberg tables are made."""
    from moto.core.responses import EmptyResult
    from moto.glue.responses import GlueResponse

    def table_input(name: str, iceberg: dict[str, Any]) -> dict[str, Any]:
        columns = [{"Name": field["Name"], "Type": str(field["Type"])} for field in iceberg["Schema"]["Fields"]]
        metadata = f"{iceberg['Location'].rstrip('/')}/metadata/00000.metadata.json"
        return {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"table_type": "ICEBERG", "metadata_location": metadata},
            "StorageDescriptor": {"Location": iceberg["Location"], "Columns": columns},
            "IcebergTableMetadata": {
                "FormatVersion": "2",
                "Location": iceberg["Location"],
                "Properties": iceberg.get("Properties", {}),
                "Schemas": [iceberg["Schema"]],
                "PartitionSpecs": [spec] if (spec := iceberg.get("PartitionSpec")) else [],
            },
        }

    create_table, update_table = GlueResponse.create_table, GlueResponse.update_table

    def create(self: Any) -> Any:
        asked = self.parameters
        iceberg = (asked.get("OpenTableFormatInput") or {}).get("IcebergInput") or {}
        if asked.get("TableInput"):
            return create_table(self)
        described = table_input(asked["Name"], iceberg["CreateIcebergTableInput"])
        self.glue_backend.create_table(asked["DatabaseName"], asked["Name"], described)
        faults.write(f"iceberg/{asked['DatabaseName']}.{asked['Name']}.jsonl", iceberg)
        return EmptyResult()

    def update(self: Any) -> Any:
        asked = self.parameters
        if asked.get("TableInput"):
            return update_table(self)
        iceberg = asked["UpdateOpenTableFormatInput"]["UpdateIcebergInput"]
        described = table_input(asked["Name"], iceberg["UpdateIcebergTableInput"]["Updates"][0])
        self.glue_backend.update_table(asked["DatabaseName"], asked["Name"], described)
        faults.write(f"iceberg/{asked['DatabaseName']}.{asked['Name']}.jsonl", iceberg)
        return EmptyResult()

    GlueResponse.create_table = create  # type: ignore[method-assign]
    GlueResponse.update_table = update  # type: ignore[method-assign]


def patch_optimizers() -> None:
    """moto has no table optimizers."""
    from moto.core.responses import ActionResult, EmptyResult
    from moto.glue.exceptions import EntityNotFoundException, GlueClientError
    from moto.glue.responses import GlueResponse

    kept: dict[tuple[str, ...], dict[str, Any]] = {}

    def who(self: Any) -> tuple[str, ...]:
        asked = self.parameters
        self.glue_backend.get_table(asked["DatabaseName"], asked["TableName"])
        return (self.region, asked["DatabaseName"], asked["TableName"], asked["Type"])

    def there(self: Any) -> tuple[str, ...]:
        if (found := who(self)) not in kept:
            raise EntityNotFoundException("no such table optimizer")
        return found

    def create(self: Any) -> Any:
        if (found := who(self)) in kept:
            raise GlueClientError("AlreadyExistsException", "the table optimizer exists")
        kept[found] = self.parameters["TableOptimizerConfiguration"]
        return EmptyResult()

    def read(self: Any) -> Any:
        found = there(self)
        asked = {key: self.parameters[key] for key in ("CatalogId", "DatabaseName", "TableName")}
        return ActionResult({**asked, "TableOptimizer": {"type": found[3], "configuration": kept[found]}})

    def update(self: Any) -> Any:
        kept[there(self)] = self.parameters["TableOptimizerConfiguration"]
        return EmptyResult()

    def delete(self: Any) -> Any:
        del kept[there(self)]
        return EmptyResult()

    for name, method in {"create": create, "get": read, "update": update, "delete": delete}.items():
        setattr(GlueResponse, f"{name}_table_optimizer", method)


def patch_firehose(faults: Faults) -> None:
    """moto throws the records of an Iceberg stream away, and answers without RecordIds."""
    from moto.firehose.models import FirehoseBackend
    from moto.moto_api._internal import mock_random

    put_record_batch = FirehoseBackend.put_record_batch

    def data(record: Any) -> dict[str, str]:
        raw = record["Data"]
        raw = raw if isinstance(raw, bytes) else base64.b64decode(raw)
        try:
            return {"data": raw.decode()}
        except UnicodeDecodeError:
            return {"data64": base64.b64encode(raw).decode()}

    def put(self: Any, name: str, records: list[Any]) -> Any:
        stream = self.delivery_streams.get(name)
        if stream is None or "Iceberg" not in stream.destinations[0]:
            return put_record_batch(self, name, records)
        mode = faults.take(name)
        if mode == "throttle":
            raise injected("ServiceUnavailableException", 503)
        if mode == "error":
            raise injected("InternalFailure", 500)
        answers, taken = [], []
        for place, record in enumerate(records):
            if mode == "partial" and place % 2:
                answers.append({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."})
            else:
                answers.append({"RecordId": str(mock_random.uuid4())})
                taken.append({"id": answers[-1]["RecordId"], **data(record)})
        faults.write(f"{name}.jsonl", *taken)
        return {"FailedPutCount": len(records) - len(taken), "Encrypted": False, "RequestResponses": answers}

    FirehoseBackend.put_record_batch = put  # type: ignore[method-assign,assignment]


def patch_dynamodb(faults: Faults) -> None:
    """Faults for GetItem."""
    from moto.dynamodb.responses import DynamoHandler

    get_item = DynamoHandler.get_item

    def get(self: Any) -> Any:
        mode = faults.take(f"dynamodb.{self.body['TableName']}")
        if mode == "throttle":
            raise injected("ProvisionedThroughputExceededException", 400)
        if mode == "error":
            raise injected("InternalServerError", 500)
        return get_item(self)

    DynamoHandler.get_item = get  # type: ignore[method-assign]


def patch_lambda() -> None:
    """moto stores a second statement of the same id; AWS refuses it."""
    from moto.awslambda.policy import Policy

    add_statement = Policy.add_statement

    def add(self: Any, raw: str, qualifier: str | None = None) -> Any:
        wanted = json.loads(raw).get("StatementId")
        if any(said.get("Sid") == wanted for said in self.statements):
            raise injected("ResourceConflictException", 409, f"The statement id ({wanted}) provided already exists.")
        return add_statement(self, raw, qualifier)

    Policy.add_statement = add  # type: ignore[method-assign]


def patch_athena() -> None:
    """moto can't update a workgroup."""
    from moto.athena.responses import AthenaResponse

    def update(self: Any) -> str:
        group = self.athena_backend.work_groups[self._get_param("WorkGroup")]
        changes = self._get_param("ConfigurationUpdates", {})
        results = changes.pop("ResultConfigurationUpdates", None)
        group.configuration = {**group.configuration, **changes}
        if results is not None:
            group.configuration["ResultConfiguration"] = {
                **group.configuration.get("ResultConfiguration", {}), **results,
            }  # fmt: skip
        group.description = self._get_param("Description", group.description)
        group.state = self._get_param("State", group.state)
        return "{}"

    AthenaResponse.update_work_group = update  # type: ignore[attr-defined]


def patch_redshift(faults: Faults) -> None:
    """moto's statements stay STARTED for ever; a fault's `error` mode makes them FAILED."""
    from moto.redshiftdata.models import RedshiftDataAPIServiceBackend as Backend

    execute_statement = Backend.execute_statement

    def execute(self: Any, **asked: Any) -> Any:
        statement = execute_statement(self, **asked)
        statement.status = "FAILED" if faults.take("redshift") == "error" else "FINISHED"
        faults.write("redshift.jsonl", {"database": statement.database, "sql": statement.query_string})
        return statement

    Backend.execute_statement = execute  # type: ignore[method-assign,assignment]


def _until_parent_ends(parent: int) -> Iterator[None]:
    while os.getppid() == parent:
        time.sleep(0.5)
        yield
    os._exit(0)


def serve(port: int, folder: Path) -> None:
    from moto.server import main

    parent = os.getppid()
    threading.Thread(target=lambda: list(_until_parent_ends(parent)), daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    patch(Faults(folder))
    main(["-H", "127.0.0.1", "-p", str(port)])


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
