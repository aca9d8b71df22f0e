"""A table `data` that people have partitioned: rows without a partition wait for one, and rows that break a check of
the table's are rejected."""

import pytest

from receiver import loader
from tests.receiver.scene import Scene, body

PARTITIONED = """
ALTER TABLE s.data RENAME TO first_partition;
CREATE TABLE s.data (LIKE s.first_partition) PARTITION BY RANGE ("timestamp");
ALTER TABLE s.data ATTACH PARTITION s.first_partition FOR VALUES FROM (0) TO (1800000000)"""


def test_rows_without_a_partition_wait_for_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "LONGEST_WAIT", 0.05)
    scene.schema(loading="append")
    scene.do(PARTITIONED)
    scene.accept(body("a"), body("late", timestamp=1_900_000_000, data="secret"))
    scene.step()
    assert scene.spool.holds() == {"s": '23514 CheckViolation: no partition of relation "data" found for row'}
    assert scene.spool.waiting("s") == 2
    scene.do("CREATE TABLE s.second PARTITION OF s.data FOR VALUES FROM (1800000000) TO (2000000000)")
    scene.load()
    assert scene.event_ids() == ["a", "late"]
    assert scene.rows("SELECT FROM s._sdc_rejected") == []


def test_rows_that_break_a_check_of_the_table_are_rejected(scene: Scene) -> None:
    scene.schema(loading="append")
    scene.do("ALTER TABLE s.data ADD CONSTRAINT known CHECK (object_type <> 'fax')")
    scene.accept(body("a"), body("fax", object_type="fax"))
    scene.load()
    assert scene.event_ids() == ["a"]
    assert scene.rows("SELECT count(*) FROM s._sdc_rejected WHERE reason LIKE '23514%known%'") == [(1,)]
