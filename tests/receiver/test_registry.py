"""The registry by itself."""

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.database import Absent
from receiver.endpoints import Traffic
from receiver.registry import EndpointEntry, Registry, SchemaEntry

ROOT = Path(__file__).resolve().parents[2]
ENTRY = EndpointEntry("a" * 64, "stitch_customerio", "primary", "customerio", True, ("one-key", "another"))


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(home / "registry.db")


def test_what_is_put_is_got_and_what_is_removed_is_gone_however_often(registry: Registry) -> None:
    unsigned = EndpointEntry("b" * 64, "stitch_customerio", "secondary", "customerio", False, ())
    for _ in range(2):
        registry.put_endpoint(ENTRY)
        registry.put_endpoint(unsigned)
        registry.put_schema(SchemaEntry("stitch_customerio", "Stitch Customer.io", "customerio", "append"))
        registry.set_setting("warehouse_dsn", "postgresql://")
    assert registry.endpoints() == [ENTRY, unsigned]
    assert registry.get_endpoint("a" * 64) == ENTRY
    assert registry.schemas() == [SchemaEntry("stitch_customerio", "Stitch Customer.io", "customerio", "append")]
    assert (registry.setting("warehouse_dsn"), registry.setting("other")) == ("postgresql://", None)
    for _ in range(2):
        registry.remove_endpoint("a" * 64)
        registry.remove_schema("stitch_customerio")
        registry.set_setting("warehouse_dsn", None)
    assert (registry.get_endpoint("a" * 64), registry.get_schema("stitch_customerio")) == (None, None)
    assert (registry.endpoints(), registry.schemas(), registry.settings()) == ([unsigned], [], {})


def test_an_endpoint_s_values_may_change_but_not_when_it_was_made(home: Path, registry: Registry) -> None:
    registry.put_endpoint(ENTRY)
    with sqlite3.connect(home / "registry.db") as raw:
        raw.execute("UPDATE endpoints SET created_at = 'then'")
    changed = EndpointEntry(ENTRY.hash, ENTRY.schema, ENTRY.slot, ENTRY.source, False, ("new",))
    registry.put_endpoint(changed)
    assert registry.endpoints() == [changed]
    with sqlite3.connect(home / "registry.db") as raw:
        assert raw.execute("SELECT created_at FROM endpoints").fetchall() == [("then",)]


def test_a_registry_of_an_earlier_version_gets_what_it_lacks_and_keeps_its_endpoints(home: Path) -> None:
    with sqlite3.connect(home / "registry.db") as raw:
        raw.executescript("""
            CREATE TABLE endpoints (
                hash TEXT PRIMARY KEY, schema TEXT NOT NULL, slot TEXT NOT NULL, source TEXT NOT NULL,
                signed INTEGER NOT NULL, signing_keys TEXT NOT NULL, created_at TEXT NOT NULL);
            CREATE TABLE schemas (
                schema TEXT PRIMARY KEY, display_name TEXT NOT NULL, source TEXT NOT NULL, loading TEXT NOT NULL);
            CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
            INSERT INTO endpoints VALUES ('aa', 'stitch_customerio', 'primary', 'customerio', 0, '[]', 'then');
            PRAGMA user_version = 1;""")
    old = EndpointEntry("aa", "stitch_customerio", "primary", "customerio", False, ())
    for _ in range(2):
        with Registry(home / "registry.db", make=False) as registry:
            assert registry.endpoints() == [old]
            assert registry.created_at() == {"aa": "then"}
    with Registry(home / "registry.db") as registry:
        registry.put_endpoint(replace(old, version=2))
        assert registry.endpoints() == [replace(old, version=2)]


def test_the_version_changes_when_another_wrote(home: Path, registry: Registry) -> None:
    before = registry.version()
    registry.put_endpoint(ENTRY)
    assert registry.version() == before
    with Registry(home / "registry.db") as other:
        assert registry.version() == before
        other.set_setting("a", "b")
    assert registry.version() != before


def test_it_is_its_owner_s_alone_and_shows_no_key(home: Path, registry: Registry) -> None:
    registry.put_endpoint(ENTRY)
    for file in home.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert "key" not in repr(ENTRY).replace("signing_keys=2", "")
    assert "a" * 13 not in repr(ENTRY)


def test_a_reader_does_not_make_one(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Registry(home / "registry.db", make=False)
    (home / "registry.db").touch()
    with pytest.raises(Absent):
        Registry(home / "registry.db", make=False)


def test_several_processes_may_make_it_at_once(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from receiver.registry import Registry\n"
        "with Registry(Path(sys.argv[1])) as registry: registry.set_setting(sys.argv[2], 'x')"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, os.fspath(home / "registry.db"), str(n)], cwd=ROOT)
        for n in range(5)
    ]
    assert [maker.wait() for maker in makers] == [0] * 5
    with Registry(home / "registry.db") as registry:
        assert len(registry.settings()) == 5


def test_recent_deliveries_are_those_of_the_last_minute() -> None:
    traffic = Traffic()
    for now in (1000.0, 1000.5, 1030.2, 1059.9):
        traffic.saw("h", now)
    assert [traffic.recent("h", now) for now in (1059.9, 1060.0, 1091.0, 1120.0)] == [4, 2, 1, 0]
    traffic.saw("h", 5000.0)
    assert (traffic.recent("h", 5000.0), traffic.last("h")) == (1, 5000.0)
    assert (traffic.recent("unknown", 5000.0), traffic.last("unknown")) == (0, None)
