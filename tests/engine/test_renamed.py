"""A stack that was renamed: its data is where it was, and nobody begins with an empty warehouse without a word."""

import shutil

from provider import daemons
from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until


def rows(stack: Stack) -> list[str]:
    found = stack.sql("SELECT event_id FROM stitch_customerio.data ORDER BY 1")
    return [event_id for (event_id,) in found]


def test_a_renamed_stack_says_where_its_data_lies_and_takes_it_along(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    stack.up()
    url = stack.url()
    assert post(url, event("before the new name")) == 200
    until(lambda: rows(stack) == ["before the new name"], what="it is loaded")
    stack.pulumi("stack", "rename", "live", check=True)
    renamed = stack.root / ".sluice/live"
    try:
        for command in (("preview",), ("up", "--yes", "--skip-preview")):
            refused = stack.pulumi(*command, "--stack", "live")
            assert refused.code != 0
            assert "make stop STACK=dev, then mv .sluice/dev .sluice/live" in refused.text
            assert "taken" not in refused.text, "of a port"
            assert not renamed.exists()
        assert post(url, event("while it was refused")) == 200, "what runs goes on running"

        daemons.stop_all(stack.home)
        stack.home.rename(renamed)
        stack.pulumi("up", "--yes", "--skip-preview", "--stack", "live", check=True)
        assert post(url, event("under the new name")) == 200
    finally:
        if renamed.exists():
            daemons.stop_all(renamed)
            renamed.rename(stack.home)
        stack.pulumi("stack", "rename", "dev", "--stack", "live", check=True)
    stack.up()
    names = ["before the new name", "under the new name", "while it was refused"]
    until(lambda: rows(stack) == names, what="nothing is lost")


def test_a_lost_folder_is_said_in_the_preview_and_the_up_goes_on_with_an_empty_one(stack: Stack) -> None:
    stack.declare(CUSTOMERIO)
    stack.up()
    daemons.stop_all(stack.home)
    shutil.rmtree(stack.home)
    stack.preview()
    assert "is gone, with its spool" in stack.said[-1]
    stack.up()
    assert "is gone, with its spool" in stack.said[-1]
    assert post(stack.url(), event("in the new folder")) == 200
    stack.up("--expect-no-changes")
