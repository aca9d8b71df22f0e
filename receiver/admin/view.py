"""What the status page and the metrics show, gathered by one thread of its own.

Whoever asks waits for that thread a moment, and then gets the last view there was: a disk that doesn't answer holds up
no more than this thread, and it is asked once a second however many want to know.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from receiver import words
from receiver.admin.history import History, Past
from receiver.answers import place
from receiver.app import App
from receiver.broken import SetAside, kept
from receiver.commit import GroupCommit
from receiver.endpoints import Endpoints
from receiver.logs import Sparingly, facts
from receiver.registry import EndpointEntry, Registry, SchemaEntry
from receiver.spool import Counts, Report, Spool, SpoolFull, Usage
from receiver.supervise import Loader
from receiver.token import fingerprint

COUNT_SECONDS = 5.0  # how often the counters are looked at for the charts
FRESH_SECONDS = 1.0  # a view may be that old
PATIENCE_SECONDS = 3.0
STALE_SECONDS = 10.0  # an older view says that the disk doesn't answer

_NONE = Counts(0, 0, 0, 0, None)

_log = logging.getLogger("receiver.admin")


@dataclass(frozen=True)
class Serving:
    """What a receiver says of itself."""

    home: Path
    address: str
    started_at: float
    code: str


@dataclass(frozen=True)
class Slot:
    """One live secret URL. Times in seconds since 1970; `recent`: deliveries in the last minute."""

    slot: str
    version: int
    fingerprint: str
    signed: bool
    created_at: float | None
    last_used: float | None
    recent: int
    stray: bool
    """The stack's state didn't know of it when `make` last looked."""


@dataclass(frozen=True)
class Integration:
    """One schema: its URLs, and what became of its deliveries."""

    schema: str
    name: str
    source: str
    slots: list[Slot]
    counts: Counts
    oldest_at: float | None
    """When the first row that waits was received."""

    hold: str | None
    past: Past


@dataclass(frozen=True)
class View:
    """All that there is to see, at one moment (seconds since 1970)."""

    at: float
    stack: str
    address: str
    pid: int
    code: str
    started_at: float
    integrations: list[Integration]
    warehouse: str
    warehouse_error: str | None
    loader_pid: int | None
    loader_starts: int
    waiting_bytes: int
    max_bytes: int
    unauthorized: int
    answers: dict[tuple[str | None, int], int]
    spool_trouble: str | None
    registry_trouble: str | None
    set_aside: list[SetAside]
    """Broken spools whose files are still there."""

    @property
    def rows(self) -> int:
        return sum(each.counts.waiting for each in self.integrations)

    @property
    def lag(self) -> float:
        """How long the oldest row has been waiting, in seconds."""
        return max((self.at - each.oldest_at for each in self.integrations if each.oldest_at), default=0.0)

    @property
    def not_ready(self) -> str | None:
        """Why deliveries can't be taken now."""
        return self.spool_trouble or self.registry_trouble

    @property
    def problems(self) -> list[str]:
        """What a person should look at, a sentence each."""
        found = []
        if self.spool_trouble:
            found.append(f"The spool takes no events, senders get 503 and try again: {self.spool_trouble}")
        if self.registry_trouble:
            found.append(f"{self.registry_trouble}: the endpoints known before are served")
        if self.loader_pid is None:
            found.append("The loader isn't running, events wait in the spool: it is started again by itself")
        elif self.warehouse == "down":
            found.append(f"The warehouse is down, events wait in the spool: {self.warehouse_error}")
        elif self.warehouse == "unset":
            found.append("The receiver doesn't know the warehouse, events wait in the spool: run make up")
        found += [each.sentence for each in self.set_aside]
        found += [f"Rows of {each.schema} wait: {each.hold}" for each in self.integrations if each.hold]
        found += [
            words.stray(slot.slot, each.schema, slot.fingerprint)
            for each in self.integrations
            for slot in each.slots
            if slot.stray
        ]
        return found


@dataclass
class _Found:
    """What the files say."""

    report: Report = field(default_factory=Report)
    oldest: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, SchemaEntry] = field(default_factory=dict)
    created_at: dict[str, str] = field(default_factory=dict)
    spool_trouble: str | None = None
    registry_trouble: str | None = None


class Watch:
    """Looks after a receiver: keeps its history, and makes a `View` whenever one is asked for."""

    def __init__(
        self,
        receiver: Serving,
        app: App,
        endpoints: Endpoints,
        commit: GroupCommit,
        loader: Loader,
        open_spool: Callable[[], Spool],
    ) -> None:
        self._receiver = receiver
        self._app = app
        self._endpoints = endpoints
        self._commit = commit
        self._loader = loader
        self._open_spool = open_spool
        self._history = History(receiver.home)
        self._rejects_kept: dict[tuple[str, str], int] = {}
        self._last = Report(), dict[str, int]()  # what the spool told when it last could
        self._view: View | None = None
        self._asked = 0
        self._served = 0
        self._fresh = threading.Condition()
        self._wanted = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        # Before the first delivery: what the counters of an older spool say now is nobody's minute.
        self._history.count(self._found(is_asked=False).report.counts, time.time())

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Counts a last time, unless the disk is too slow for it."""
        self._ends.set()
        self._wanted.set()
        self._thread.join(1.0)

    def look(self) -> View | None:
        """How things are, as of a second ago at most; or as they were last when the disk doesn't answer."""
        with self._fresh:
            if self._view is None or not 0 <= time.time() - self._view.at <= FRESH_SECONDS:
                self._asked += 1
                mine = self._asked
                self._wanted.set()
                self._fresh.wait_for(lambda: self._served >= mine, PATIENCE_SECONDS)
            return self._view

    def _run(self) -> None:
        sparingly = Sparingly()
        while not self._ends.is_set():
            is_asked = self._wanted.wait(COUNT_SECONDS)
            self._wanted.clear()
            try:
                asked = self._asked
                view = self._turn(is_asked)
            except Exception as error:  # whatever it is, the next turn is another one
                if (more := sparingly.may_say("")) is not None:
                    told = facts(error=type(error).__name__, at=place(error), **more)
                    _log.error("the status can't be told", extra=told)
                continue
            if view is not None:
                with self._fresh:
                    self._view, self._served = view, asked
                    self._fresh.notify_all()
        self._history.close()

    def _turn(self, is_asked: bool) -> View | None:
        now = time.time()
        found = self._found(is_asked)
        self._history.count(found.report.counts, now)
        rejects = self._app.rejects.counts.copy()
        kept = self._rejects_kept
        self._history.reject({each: n - kept.get(each, 0) for each, n in rejects.items() if n > kept.get(each, 0)}, now)
        self._rejects_kept = rejects
        return self._seen(found, self._history.past(now), time.time()) if is_asked else None

    def _found(self, is_asked: bool) -> _Found:
        found = _Found(*self._last)
        if self._commit.is_stalled:
            found.spool_trouble = "the disk doesn't answer"
            return found
        try:
            with self._open_spool() as spool:
                found.report, found.oldest = self._last = spool.report(), spool.oldest()
                if is_asked:
                    spool.append([])  # as a delivery would, to the disk and back: only this tells that it can
                    if (found.report.waiting_bytes or 0) >= self._endpoints.max_bytes:
                        raise SpoolFull(
                            f"{found.report.waiting_bytes} bytes wait in the spool, and no more are allowed"
                        )
        except (sqlite3.Error, OSError, SpoolFull) as error:
            found.spool_trouble = f"{type(error).__name__}: {error}"
        if is_asked:
            try:
                with Registry(self._receiver.home / "registry.db", make=False) as registry:
                    found.schemas = {each.schema: each for each in registry.schemas()}
                    found.created_at = registry.created_at()
            except (sqlite3.Error, OSError, ValueError) as error:
                found.registry_trouble = f"The registry can't be read ({type(error).__name__})"
        return found

    def _seen(self, found: _Found, past: dict[str, Past], now: float) -> View:
        report = found.report
        by_schema: dict[str, list[EndpointEntry]] = {}
        for endpoint in self._endpoints.by_hash.values():
            by_schema.setdefault(endpoint.schema, []).append(endpoint)
        waiting = {schema for schema, counts in report.counts.items() if counts.waiting}
        integrations = []
        for schema in sorted({*found.schemas, *by_schema, *waiting}):
            entry = found.schemas.get(schema)
            oldest = found.oldest.get(schema)
            live = sorted(by_schema.get(schema, ()), key=lambda each: (each.slot, each.hash))
            integrations.append(
                Integration(
                    schema,
                    entry.display_name if entry else schema,
                    entry.source if entry else "",
                    [self._slot(each, report.usage.get(each.hash), found, now) for each in live],
                    report.counts.get(schema, _NONE),
                    oldest / 1e6 if oldest else None,
                    report.holds.get(schema),
                    past.get(schema, Past()),
                )
            )
        receiver = self._receiver
        return View(
            at=now,
            stack=receiver.home.name,
            address=receiver.address,
            pid=os.getpid(),
            code=receiver.code,
            started_at=receiver.started_at,
            integrations=integrations,
            warehouse=report.warehouse.state,
            warehouse_error=report.warehouse.error,
            loader_pid=self._loader.pid,
            loader_starts=self._loader.starts,
            waiting_bytes=report.waiting_bytes or 0,
            max_bytes=self._endpoints.max_bytes,
            unauthorized=self._app.unauthorized,
            answers=self._app.answers.copy(),
            spool_trouble=found.spool_trouble,
            registry_trouble=found.registry_trouble,
            set_aside=kept(receiver.home),
        )

    def _slot(self, endpoint: EndpointEntry, usage: Usage | None, found: _Found, now: float) -> Slot:
        created = found.created_at.get(endpoint.hash)
        lasts = [last for last in (usage and usage.last_used, self._app.traffic.last(endpoint.hash)) if last]
        return Slot(
            endpoint.slot,
            endpoint.version,
            fingerprint(endpoint.hash),
            endpoint.signed,
            datetime.fromisoformat(created).timestamp() if created else None,
            max(lasts, default=None),
            self._app.traffic.recent(endpoint.hash, now),
            endpoint.stray,
        )
