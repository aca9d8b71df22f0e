"""A stack on AWS as `make` works with it, beside the engine: asks AWS itself, with the keys of the shell."""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from urllib.parse import SplitResult, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components import naming
from receiver import words
from receiver.aws import USED
from receiver.replay import Wanted
from receiver.token import fingerprint
from tools import replay
from tools import stack as stacks
from tools.endpoints import Endpoint, known_hashes
from tools.place import Resources, Status, revoked
from tools.stack import Stack, StackError

P = ParamSpec("P")
T = TypeVar("T")

IDENTITY = "sluice:index:StackIdentity"
REGISTRY = "aws:dynamodb/table:Table"
ITEM = "aws:dynamodb/tableItem:TableItem"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
DATABASE = "aws:glue/catalogDatabase:CatalogDatabase"
BUCKET = "aws:s3/bucket:Bucket"
LOG_STREAM = "aws:cloudwatch/logStream:LogStream"
PARAMETER = "aws:ssm/parameter:Parameter"
OPTIMIZER = "aws:glue/catalogTableOptimizer:CatalogTableOptimizer"
STREAM = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
TABLE = "aws:glue/catalogTable:CatalogTable"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
AT_ONCE = 100  # items or names that one call takes
PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
QUERY_POLL_S = 0.5
LOG_LINES = 20
LOG_HOURS = 24


def _told(function: Callable[P, T]) -> Callable[P, T]:
    """Turns AWS's errors into ones that are shown without a traceback."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (BotoCoreError, ClientError) as error:
            raise StackError(f"AWS: {error}") from None

    return called


@dataclass(frozen=True)
class Use:
    """What the registry says of an endpoint. `last_used`: seconds since 1970."""

    is_live: bool
    last_used: float | None


class Aws:
    """A `Place`. Region and profile are those of the stack's own config, else the shell's."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._config = stacks.settings(stack.root, stack.name).get("config") or {}

    @functools.cached_property
    def _session(self) -> boto3.Session:
        for key in ("aws:region", "aws:profile"):
            if not isinstance(self._config.get(key, ""), str):
                raise StackError(f"{key} must be plain text: pulumi config set --stack {self._stack.name} {key} …")
        return boto3.Session(profile_name=self._config.get("aws:profile"), region_name=self._config.get("aws:region"))

    def client(self, service: str) -> Any:
        """A boto3 client, which gives up sooner than boto3 would by itself: somebody is waiting."""
        return self._session.client(service, config=PATIENCE)

    @functools.cached_property
    def _identity(self) -> Mapping[str, str]:
        """Who we are for AWS: `Account`, `Arn`."""
        identity: Mapping[str, str] = self.client("sts").get_caller_identity()
        return identity

    @_told
    def check(self) -> None:
        _ = self._identity  # without the right to ask for it, an `up` fails after it has begun
        adopted = {database: self._buckets_of(database) for database in self._adopted()}
        if not any(adopted.values()):
            return
        own = {its["outputs"].get("bucket") for its in self._stack.resources() if its["type"] == BUCKET}
        for database, buckets in adopted.items():
            for bucket in buckets - own:
                raise StackError(
                    f"the tables of {database} are in the bucket {bucket}, which isn't this stack's: its stream "
                    "couldn't write them\nImport the bucket first: docs/aws.md, A new stack over a kept bucket"
                )

    def _adopted(self) -> Iterator[str]:
        """The databases that the config takes up. What is wrong with it is for the program to say."""
        config = stacks.config(self._stack.root, self._stack.name)
        integrations = config.get("integrations")
        for declared in integrations if isinstance(integrations, list) else ():
            if isinstance(declared, dict) and declared.get("adopt") is True:
                with contextlib.suppress(naming.SchemaNameError):
                    schema = str(declared.get("schema") or naming.schema_name(str(declared.get("name"))))
                    yield f"{config.get('schemaPrefix') or ''}{schema}"

    def _buckets_of(self, database: str) -> set[str]:
        try:
            tables = self.client("glue").get_tables(DatabaseName=database)["TableList"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "EntityNotFoundException":
                return set()
            raise
        locations = [table.get("StorageDescriptor", {}).get("Location") or "" for table in tables]
        return {urlsplit(location).netloc for location in locations if location.startswith("s3://")}

    @_told
    def states(self, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
        return _states(self._uses(endpoints, self._stack.resources()))

    @_told
    def status(self, endpoints: Sequence[Endpoint], resources: Resources) -> Status:
        uses = self._uses(endpoints, resources)
        problems = [
            f"the {endpoint.slot} URL of {endpoint.name} is not live: run make refresh and make up{self._stack.option}"
            for endpoint in endpoints
            if not uses[endpoint.hash].is_live
        ]
        alarms = [resource["outputs"]["name"] for resource in resources if resource["type"] == ALARM]
        problems += [f"in alarm: {meaning}" for meaning in self._alarming(alarms)]
        return Status(_states(uses), {hash: use.last_used for hash, use in uses.items()}, problems)

    def _uses(self, endpoints: Sequence[Endpoint], resources: Resources) -> dict[str, Use]:
        """By the hash of its token: whether an endpoint is live, and when it was last used."""
        tables = {resource["inputs"]["tableName"] for resource in resources if resource["type"] == ITEM}
        hashes = [endpoint.hash for endpoint in endpoints]
        items: dict[str, Any] = {}
        for table in tables:
            items |= self._items(table, [key for hash in hashes for key in (hash, f"{USED}{hash}")])
        used = {hash: items.get(f"{USED}{hash}") for hash in hashes}
        return {hash: Use(hash in items, float(its["last_used"]["N"]) if its else None) for hash, its in used.items()}

    def _items(self, table: str, keys: Sequence[str]) -> dict[str, Any]:
        dynamodb, found = self.client("dynamodb"), dict[str, Any]()
        for start in range(0, len(keys), AT_ONCE):
            asked = {table: {"Keys": [{"hash": {"S": key}} for key in keys[start : start + AT_ONCE]]}}
            while asked:
                answer = dynamodb.batch_get_item(RequestItems=asked)
                found |= {item["hash"]["S"]: item for item in answer["Responses"].get(table, [])}
                asked = answer.get("UnprocessedKeys") or {}
        return found

    def _alarming(self, names: Sequence[str]) -> list[str]:
        """What those of the alarms mean that are in alarm."""
        cloudwatch, found = self.client("cloudwatch"), []
        for start in range(0, len(names), AT_ONCE):
            answer = cloudwatch.describe_alarms(AlarmNames=list(names[start : start + AT_ONCE]))
            alarms = [alarm for alarm in answer["MetricAlarms"] if alarm["StateValue"] == "ALARM"]
            found += [alarm.get("AlarmDescription") or alarm["AlarmName"] for alarm in alarms]
        return found

    @_told
    def query(self, sql: str, outputs: Mapping[str, Any]) -> int:
        warehouse = outputs.get("warehouse") or {}
        if not warehouse.get("workgroup"):
            raise StackError(f"this stack has no Athena workgroup yet: run make up{self._stack.option}")
        if not sql:
            raise StackError('Athena has no prompt: say SQL="select …"')
        for row in list(self.answer(sql, warehouse["workgroup"]))[1:]:
            print("|".join(row))
        return 0

    def answer(self, sql: str, workgroup: str) -> Iterator[list[str]]:
        """The rows of a query's answer, as texts; the first has the columns' names. Raises StackError with Athena's."""
        athena = self.client("athena")
        execution = athena.start_query_execution(QueryString=sql, WorkGroup=workgroup)["QueryExecutionId"]
        while True:
            status = athena.get_query_execution(QueryExecutionId=execution)["QueryExecution"]["Status"]
            if status["State"] in ("FAILED", "CANCELLED"):
                raise StackError(f"Athena: {status.get('StateChangeReason') or status['State'].lower()}")
            if status["State"] == "SUCCEEDED":
                break
            time.sleep(QUERY_POLL_S)
        for page in athena.get_paginator("get_query_results").paginate(QueryExecutionId=execution):
            for row in page["ResultSet"]["Rows"]:
                yield [cell.get("VarCharValue", "") for cell in row["Data"]]

    def replay(self, schemas: Sequence[str], asked: Wanted, outputs: Mapping[str, Any], *, dry: bool) -> int:
        raise StackError(replay.refusal(schemas, asked))

    @_told
    def logs(self) -> Mapping[str, str]:
        groups = [resource["outputs"]["name"] for resource in self._stack.resources() if resource["type"] == LOG_GROUP]
        return {group: "\n".join(f"    {line}" for line in self._log(group)) for group in groups}

    def _log(self, group: str) -> list[str]:
        """The last lines of a log group, of the last day."""
        pages = self.client("logs").get_paginator("filter_log_events")
        since = int((time.time() - LOG_HOURS * 3600) * 1000)
        lines: list[str] = []
        for page in pages.paginate(logGroupName=group, startTime=since):
            lines = [*lines, *(event["message"].rstrip() for event in page["events"])][-LOG_LINES:]
        return lines

    def loss(self, resources: Resources) -> list[str]:
        lines = []
        for resource in resources:
            if resource["type"] == DATABASE:
                database = f"database {resource['inputs']['name']}"
                if resource.get("retainOnDelete"):
                    lines.append(f"keeps {database} and its tables")
                else:
                    lines.append(f"will drop {database} with all its data")
        return lines

    @_told
    def forget(self, exported: Mapping[str, Any]) -> list[str]:
        # A create of these refuses what is there. Each is only ended where it is this stack's and holds nothing.
        enders: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
            ITEM: self._end_item,
            PARAMETER: self._end_parameter,
            STREAM: self._end_stream,
            LOG_STREAM: self._end_log_stream,
            OPTIMIZER: self._end_optimizer,
            TABLE: self._end_table,
            DATABASE: self._end_database,  # after its tables
        }
        creating = [
            operation["resource"]
            for operation in exported["deployment"].get("pending_operations") or []
            if operation["type"] == "creating"
        ]
        said = []
        for type, end in enders.items():
            for inputs in (resource["inputs"] for resource in creating if resource["type"] == type):
                try:
                    said.append(end(inputs))
                except ClientError as error:
                    if not error.response["Error"]["Code"].endswith(("NotFoundException", "NotFound")):
                        raise
        return [what for what in said if what]

    @_told
    def strays(self, resources: Resources) -> list[str]:
        return [words.stray(slot, schema, fingerprint(hash)) for _, hash, schema, slot in self._strays(resources)]

    @_told
    def revoke_strays(self, resources: Resources) -> list[str]:
        said = []
        for table, hash, schema, slot in self._strays(resources):
            self.client("dynamodb").delete_item(TableName=table, Key={"hash": {"S": hash}})
            said.append(revoked(slot, schema, hash))
        return said

    def _strays(self, resources: Resources) -> Iterator[tuple[str, str, str, str]]:
        """(table, hash, schema, slot) of the live endpoints in the stack's registry that its state doesn't know."""
        known = known_hashes(resources)
        for table in {its["outputs"]["name"] for its in resources if its["type"] == REGISTRY}:
            for page in self.client("dynamodb").get_paginator("scan").paginate(TableName=table):
                for found in page["Items"]:
                    hash = found["hash"]["S"]
                    if not hash.startswith(USED) and hash not in known:
                        yield table, hash, found["schema"]["S"], found["slot"]["S"]

    def _is_ours(self, tags: Mapping[str, str]) -> bool:
        """Whether it carries the identity of this stack, and not only its name, which another may have as well."""
        return tags.get("sluice:identity") in self._identities

    @functools.cached_property
    def _identities(self) -> set[str]:
        """The stack's own, from its state: one, or none before its first `up`. Asked of the engine once."""
        return {its["outputs"]["identity"] for its in self._stack.resources() if its["type"] == IDENTITY}

    def _end_item(self, inputs: Mapping[str, Any]) -> str:
        key = json.loads(inputs["item"])["hash"]
        self.client("dynamodb").delete_item(TableName=inputs["tableName"], Key={"hash": key})
        return f"revoked {fingerprint(key['S'])}, a new URL that was just being made"

    def _end_parameter(self, inputs: Mapping[str, Any]) -> str | None:
        ssm, name = self.client("ssm"), inputs["name"]
        tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        if not self._is_ours({tag["Key"]: tag["Value"] for tag in tags}):
            return None
        ssm.delete_parameter(Name=name)
        return f"removed parameter {name}, which was just being made"

    def _end_stream(self, inputs: Mapping[str, Any]) -> str | None:
        firehose, name = self.client("firehose"), inputs["name"]
        tags = firehose.list_tags_for_delivery_stream(DeliveryStreamName=name)["Tags"]
        if not self._is_ours({tag["Key"]: tag.get("Value", "") for tag in tags}):
            return None
        firehose.delete_delivery_stream(DeliveryStreamName=name)  # no endpoint is made before it: it has taken nothing
        return f"removed stream {name}, which was just being made"

    def _end_log_stream(self, inputs: Mapping[str, Any]) -> str:
        group, name = inputs["logGroupName"], inputs["name"]
        self.client("logs").delete_log_stream(logGroupName=group, logStreamName=name)
        return f"removed log stream {name}, which was just being made"

    def _end_table(self, inputs: Mapping[str, Any]) -> str | None:
        glue, database, name = self.client("glue"), inputs["databaseName"], inputs["name"]
        table = glue.get_table(DatabaseName=database, Name=name)["Table"]
        location = urlsplit(table.get("StorageDescriptor", {}).get("Location") or "")
        if not self._is_ours(self._tags_of(database)) or (location.netloc and self._has_files(location)):
            return None
        glue.delete_table(DatabaseName=database, Name=name)
        return f"removed table {database}.{name}, which was just being made"

    def _end_optimizer(self, inputs: Mapping[str, Any]) -> str | None:
        database, table, kind = inputs["databaseName"], inputs["tableName"], inputs["type"]
        if not self._is_ours(self._tags_of(database)):
            return None
        self.client("glue").delete_table_optimizer(
            CatalogId=inputs["catalogId"], DatabaseName=database, TableName=table, Type=kind
        )
        return f"removed the {kind} of table {database}.{table}, which was just being made"

    def _has_files(self, location: SplitResult) -> bool:
        """Whether a table at this place, s3://bucket/folder, has rows in files."""
        folder = f"{location.path.strip('/')}/data/"
        listed = self.client("s3").list_objects_v2(Bucket=location.netloc, Prefix=folder, MaxKeys=1)
        return bool(listed.get("KeyCount"))

    def _end_database(self, inputs: Mapping[str, Any]) -> str | None:
        glue, name = self.client("glue"), inputs["name"]
        if not self._is_ours(self._tags_of(name)) or glue.get_tables(DatabaseName=name)["TableList"]:
            return None
        glue.delete_database(Name=name)
        return f"removed database {name}, which was just being made"

    def _tags_of(self, database: str) -> Mapping[str, str]:
        partition, account = self._identity["Arn"].split(":")[1], self._identity["Account"]
        arn = f"arn:{partition}:glue:{self._session.region_name}:{account}:database/{database}"
        tags: Mapping[str, str] = self.client("glue").get_tags(ResourceArn=arn)["Tags"]
        return tags

    def stop_all(self) -> list[str]:
        return []


def _states(uses: Mapping[str, Use]) -> dict[str, str]:
    return {hash: "live" if use.is_live else "not live" for hash, use in uses.items()}
