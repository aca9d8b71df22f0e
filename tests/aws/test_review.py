"""`make review` of a stack on AWS: the real engine and program, with moto."""

from tests.aws.cloud import AwsStack
from tests.support.making import make
from tests.support.secrecy import places_of
from tests.support.stack import CUSTOMERIO


def test_the_page_names_costs_kept_tables_and_what_is_switched_off(stack: AwsStack) -> None:
    kept = {"protect": True, "destroyData": False, "streamDrain": 1}
    stack.declare(CUSTOMERIO, **kept)
    first = make(stack, "review", FORMAT="markdown")
    assert first.code == 0, first.text
    assert "The first `up` of this stack: 1 added." in first.text
    assert "`stitch_customerio`: +$0.20 a month (+2 alarms)" in first.text
    assert "Look at this first" not in first.text
    stack.up()

    second = {**CUSTOMERIO, "name": "Second", "maxSilenceHours": 24}
    stack.declare(
        {**CUSTOMERIO, "tokens": {"primary": 2}}, second, **{**kept, "protect": False, "reservedConcurrency": 5}
    )
    page = make(stack, "review", FORMAT="markdown", STRICT="1")
    assert page.code == 2, page.text
    for sentence in (
        "1 added, 1 rotated.",
        "**loses data**: `protect` is turned off",
        "**cuts a feed off**: `reservedConcurrency`: no limit of its own → 5",
        "**cuts a feed off**: the primary URL of `Stitch Customer.io` is rotated",
        "primary URL rotated: version 1 → 2",
        "`second`: +$0.30 a month (+3 alarms)",
        "the function's reserved concurrency changes",
    ):
        assert sentence in page.text, page.text
    assert "exposes a secret" not in page.text

    stack.declare(CUSTOMERIO, **{**kept, "protect": False})
    stack.up()
    stack.declare(**{**kept, "protect": False})
    gone = make(stack, "review", FORMAT="markdown").text
    assert "database and 2 tables of `stitch_customerio`: kept, with every row" in gone, gone
    assert "loses data" not in gone
    token = stack.url().rsplit("/", 1)[-1]
    assert not places_of(token, {"first": first.text.encode(), "page": page.text.encode(), "gone": gone.encode()})
    stack.declare(CUSTOMERIO)
    stack.up()
    stack.declare()
    assert (
        "database and 2 tables of `stitch_customerio`: **dropped with every row**"
        in make(stack, "review", FORMAT="markdown").text
    )
