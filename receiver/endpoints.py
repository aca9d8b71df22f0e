"""The live endpoints, held in memory: a delivery costs no look-up anywhere, and no file can slow it down.

A thread of its own follows the registry, so that a registry that is busy or broken leaves the receiver with what it
knew last.
"""

import logging
import sqlite3
import threading
import time
from pathlib import Path

from receiver.admin.address import LOOPBACK, AdminAddress
from receiver.logs import facts
from receiver.registry import EndpointEntry, Registry
from receiver.spool import KEEP_FREE_BYTES, MAX_BYTES

FOLLOW_SECONDS = 0.1
RECENT_SECONDS = 60

_log = logging.getLogger("receiver.endpoints")


class Endpoints:
    """What the registry says, never older than FOLLOW_SECONDS."""

    def __init__(self, path: Path) -> None:
        """Reads the registry at `path` (made if need be), then follows it. Raises sqlite3.Error or OSError."""
        self.by_hash: dict[str, EndpointEntry] = {}
        # By schema and hash: a token with another's schema is as unknown as any, and that takes as long to find out.
        self.by_address: dict[tuple[str, str], EndpointEntry] = {}
        self.max_bytes = MAX_BYTES
        self.keep_free_bytes = KEEP_FREE_BYTES
        self.admin = AdminAddress(LOOPBACK, 0)
        self._path = path
        self._wanted = threading.Event()
        self._fresh = threading.Condition()
        self._asked = 0  # reloads
        self._served = 0
        self.is_broken = False  # whether the registry can't be read now
        with Registry(path) as registry:
            self._read(registry)
        threading.Thread(target=self._follow, name="registry", daemon=True).start()

    def reload(self, timeout: float = 5.0) -> bool:
        """Returns once the registry was read anew after this call; False if that took too long."""
        with self._fresh:
            self._asked += 1
            mine = self._asked
            self._wanted.set()
            return self._fresh.wait_for(lambda: self._served >= mine, timeout)

    def _follow(self) -> None:
        while True:
            try:
                inode = self._path.stat().st_ino
                with Registry(self._path, make=False) as registry:  # an empty one would turn everybody away
                    self._follow_file(registry, inode)
            except (sqlite3.Error, OSError, ValueError) as error:
                if not self.is_broken:
                    _log.error(
                        "the registry can't be read, what it said holds", extra=facts(error=type(error).__name__)
                    )
                self.is_broken = True
                time.sleep(FOLLOW_SECONDS)

    def _follow_file(self, registry: Registry, inode: int) -> None:
        version = None
        is_believed = False
        while self._path.stat().st_ino == inode:
            is_wanted = self._wanted.wait(FOLLOW_SECONDS)
            now = registry.version()
            if is_wanted or now != version:
                self._wanted.clear()
                is_believed = self._read(registry, is_believed)
                version = now

    def _read(self, registry: Registry, is_believed: bool = False) -> bool:
        """Takes over what the registry says, but not that a file which was just opened holds no endpoint at all:
        somebody removed the old one, and is about to make it again. Returns whether it is believed from now on."""
        asked = self._asked
        settings = registry.settings()
        by_hash = {endpoint.hash: endpoint for endpoint in registry.endpoints()}
        is_believed = is_believed or bool(by_hash)
        if is_believed:
            self.by_hash = by_hash
            self.by_address = {(endpoint.schema, hash): endpoint for hash, endpoint in by_hash.items()}
        self.max_bytes = int(settings.get("spool_max_bytes", MAX_BYTES))
        self.keep_free_bytes = int(settings.get("keep_free_bytes", KEEP_FREE_BYTES))
        self.admin = AdminAddress(settings.get("admin_host", LOOPBACK), int(settings.get("admin_port", 0)))
        self.is_broken = False
        with self._fresh:
            self._served = asked
            self._fresh.notify_all()
        return is_believed


class Traffic:
    """When each endpoint was last asked for by its sender, and how often of late: evidence for a drain.

    Counts every delivery with the endpoint's token, answered 200 or not: its sender is still there.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._recent: dict[str, dict[int, int]] = {}  # per hash: deliveries in that second

    def saw(self, hash: str, now: float) -> None:
        """One delivery at `now`, in seconds since 1970."""
        self._last[hash] = now
        second = int(now)
        seconds = self._recent.get(hash)
        if seconds is None:
            seconds = self._recent[hash] = {}
        if second in seconds:
            seconds[second] += 1
        else:
            for old in [old for old in seconds if old <= second - RECENT_SECONDS]:
                del seconds[old]
            seconds[second] = 1

    def last(self, hash: str) -> float | None:
        """Seconds since 1970, or None: not since this process started."""
        return self._last.get(hash)

    def recent(self, hash: str, now: float) -> int:
        """How many in the last minute."""
        oldest = int(now) - RECENT_SECONDS
        return sum(n for second, n in list(self._recent.get(hash, {}).items()) if second > oldest)
