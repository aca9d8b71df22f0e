"""A stack on this machine as `make` works with it: its daemons, its receiver's control socket, its PostgreSQL."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provider import daemons, postgres
from receiver import control, words
from receiver.broken import SetAside
from receiver.logs import readable
from receiver.replay import Wanted
from receiver.token import fingerprint
from tools import interrupted, progress, replay
from tools import sql as statements
from tools.endpoints import Endpoint
from tools.place import Counts, Resources, Status, revoked
from tools.stack import Stack, StackError


class ThisMachine:
    """A `Place`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def check(self) -> None:
        """Everything is found in the preview."""

    def states(self, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
        return {endpoint.hash: _state(self._stack.home, endpoint) for endpoint in endpoints}

    def status(self, endpoints: Sequence[Endpoint], resources: Resources) -> Status:
        running = daemons.states(self._stack.home)
        if not any(resource["type"] == "sluice:index:PostgresServer" for resource in resources):
            # The warehouse is elsewhere; an embedded one of before is not this stack's any more.
            running["postgres"] = "none"
        answer: dict[str, Any] = {}
        if running["receiver"] == "running":
            try:
                answer = control.ask_sync(self._stack.home, "status")
            except (control.ReceiverDown, control.ControlError) as error:
                running["receiver"] = f"not answering ({error})"
        states = self.states(endpoints)
        found = problems(running, answer, f"run make up{self._stack.option}")
        if running["receiver"] == "running":
            for endpoint in endpoints:
                if (state := states[endpoint.hash]) != "live":
                    told = f"the {endpoint.slot} URL of {endpoint.name}: {state}; run make up{self._stack.option}"
                    found.append(told)
        used = answer.get("endpoints", {})
        counts = {
            schema: Counts(its["accepted"], its["loaded"], its["rejected"], its["waiting"], its.get("last_event_at"))
            for schema, its in answer.get("schemas", {}).items()
        }
        return Status(
            states,
            {endpoint.hash: used.get(endpoint.hash, {}).get("last_used") for endpoint in endpoints},
            found + silent(endpoints, counts, time.time()),
            counts,
            notes(answer),
        )

    def query(self, sql: str, outputs: Mapping[str, Any]) -> int:
        dsn = _dsn(outputs)
        return statements.query(dsn, sql) if sql else statements.prompt(dsn, self._stack.environment)

    def replay(self, schemas: Sequence[str], asked: Wanted, outputs: Mapping[str, Any], *, dry: bool) -> int:
        return replay.run(_dsn(outputs), schemas, asked, dry=dry)

    def logs(self) -> Mapping[str, str]:
        home, root = self._stack.home, self._stack.root
        server = postgres.recorded(home)
        files = [*sorted(home.glob("*.log")), *([server.log] if server else [])]
        shown = {
            str(log.relative_to(root) if log.is_relative_to(root) else log): progress.tail(log, lines=20)
            for log in files
        }
        if sys.stdout.isatty():  # a program that reads them wants the lines of JSON that they are
            shown = {name: _readable(lines) for name, lines in shown.items()}
        return shown

    def loss(self, resources: Resources) -> list[str]:
        lines = []
        for resource in resources:
            if resource["type"] != "sluice:index:PostgresSchema":
                continue
            inputs = resource["inputs"]
            schema = f"schema {inputs['name']} ({inputs['displayName']})"
            if inputs.get("destroyData") and not inputs.get("adopt"):
                lines.append(f"will drop {schema} with all its data")
            else:
                lines.append(f"keeps {schema}")
        return lines

    def forget(self, exported: Mapping[str, Any]) -> list[str]:
        return self.revoke_strays(exported["deployment"].get("resources") or [])

    def strays(self, resources: Resources) -> list[str]:
        found = interrupted.strays(self._stack.home, resources)
        return [words.stray(stray.slot, stray.schema, fingerprint(stray.hash)) for stray in found]

    def revoke_strays(self, resources: Resources) -> list[str]:
        found = interrupted.strays(self._stack.home, resources)
        interrupted.revoke(self._stack.home, found)
        return [revoked(stray.slot, stray.schema, stray.hash) for stray in found]

    def stop_all(self) -> list[str]:
        return daemons.stop_all(self._stack.home)


def _dsn(outputs: Mapping[str, Any]) -> str:
    dsn = (outputs.get("warehouse") or {}).get("dsn")
    if not dsn:
        raise StackError("this stack has no PostgreSQL warehouse: run make up")
    return str(dsn)


def _state(home: Path, endpoint: Endpoint) -> str:
    """What the receiver says of the endpoint."""
    try:
        return "live" if control.ask_sync(home, "endpoint", hash=endpoint.hash)["live"] else "not live"
    except control.ReceiverDown:
        return "receiver down"
    except control.ControlError as error:
        return f"unknown ({error})"


def _readable(lines: str) -> str:
    return "\n".join(f"    {readable(line.removeprefix('    '))}" for line in lines.splitlines())


def notes(answer: Mapping[str, Any]) -> list[str]:
    """Where the status page is, or why there is none. `answer`: the receiver's own report."""
    admin = answer.get("admin", {})
    if trouble := admin.get("trouble"):
        return [f"there is no status page: {trouble}"]
    if not admin.get("port"):
        return []
    others = ", without a password, and others than this machine may reach it" if admin.get("open") else ""
    return [f"status page: {admin['url']}{others}"]


def problems(running: Mapping[str, str], answer: Mapping[str, Any], remedy: str) -> list[str]:
    """What is down, one sentence each. `running`: by daemon; `answer`: the receiver's own report."""
    found = []
    if running["postgres"] == "stopped":
        found.append(f"PostgreSQL is down: {remedy}")
    if running["receiver"] in ("stopped", "none"):
        found.append(f"the receiver is down, nothing is taken: {remedy}")
    elif running["receiver"] != "running":
        found.append(f"the receiver is {running['receiver']}: {remedy}")
    warehouse = answer.get("warehouse", {})
    if warehouse.get("state") == "down" and running["postgres"] != "stopped":
        found.append(f"the warehouse is down, events wait in the spool: {warehouse.get('error')}")
    if warehouse.get("state") == "unset" and warehouse.get("at"):
        found.append(f"the receiver doesn't know the warehouse, events wait in the spool: {remedy}")
    if trouble := answer.get("spool", {}).get("trouble"):
        found.append(f"the spool takes no events, senders get 503 and try again: {trouble}")
    found += [SetAside(**each).sentence for each in answer.get("spool", {}).get("set_aside", ())]
    for schema, counts in answer.get("schemas", {}).items():
        if counts.get("hold"):
            found.append(f"events of {schema} wait in the spool, as it can't be loaded: {counts['hold']}")
    return found


def silent(endpoints: Sequence[Endpoint], counts: Mapping[str, Counts], now: float) -> list[str]:
    """The integrations that had no event for longer than they say they may: once they had one at all."""
    found = {}
    for endpoint in endpoints:
        last = counts[endpoint.schema].last_event_at if endpoint.schema in counts else None
        allowed = endpoint.max_silence_hours
        if last is not None and allowed is not None and now - last > allowed * 3600:
            found[endpoint.schema] = words.silence(endpoint.name, round((now - last) / 3600), allowed)
    return list(found.values())
