"""A stack on AWS as `make` works with it, beside the engine: asks AWS itself, with the keys of the shell."""

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from receiver.token import fingerprint
from tools import stack as stacks
from tools.endpoints import Endpoint
from tools.place import Resources, Status
from tools.stack import Stack, StackError

P = ParamSpec("P")
T = TypeVar("T")

ITEM = "aws:dynamodb/tableItem:TableItem"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
DATABASE = "aws:glue/catalogDatabase:CatalogDatabase"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
AT_ONCE = 100  # items or names that one call takes
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
        config = stacks.settings(stack.root, stack.name).get("config") or {}
        self._session = boto3.Session(profile_name=config.get("aws:profile"), region_name=config.get("aws:region"))

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return self._session.client(service)

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
            items |= self._items(table, [key for hash in hashes for key in (hash, f"used:{hash}")])
        used = {hash: items.get(f"used:{hash}") for hash in hashes}
        return {hash: Use(hash in items, float(its["last_used"]["N"]) if its else None) for hash, its in used.items()}

    def _items(self, table: str, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(keys), AT_ONCE):
            asked = {table: {"Keys": [{"hash": {"S": key}} for key in keys[start : start + AT_ONCE]]}}
            while asked:
                answer = self.client("dynamodb").batch_get_item(RequestItems=asked)
                found |= {item["hash"]["S"]: item for item in answer["Responses"].get(table, [])}
                asked = answer.get("UnprocessedKeys") or {}
        return found

    def _alarming(self, names: Sequence[str]) -> list[str]:
        """What those of the alarms mean that are in alarm."""
        found = []
        for start in range(0, len(names), AT_ONCE):
            answer = self.client("cloudwatch").describe_alarms(AlarmNames=list(names[start : start + AT_ONCE]))
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
        # The plugin's create refuses an item that is there. Nobody has been given these URLs yet.
        forgotten = []
        for operation in exported["deployment"].get("pending_operations") or []:
            resource = operation["resource"]
            if operation["type"] == "creating" and resource["type"] == ITEM:
                key = json.loads(resource["inputs"]["item"])["hash"]
                self.client("dynamodb").delete_item(TableName=resource["inputs"]["tableName"], Key={"hash": key})
                forgotten.append(fingerprint(key["S"]))
        return forgotten

    def stop_all(self) -> list[str]:
        return []


def _states(uses: Mapping[str, Use]) -> dict[str, str]:
    return {hash: "live" if use.is_live else "not live" for hash, use in uses.items()}
