"""A preview and two configs become a page: what it must say, and above all what it must not miss."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from components.customerio.events import EVENTS
from tests.support.secrecy import places_of
from tools.review import costs, page, policies
from tools.review import plan as plans
from tools.review.declared import declared
from tools.review.deployed import deployed
from tools.review.integrations import events_in_words
from tools.review.notes import Evidence, Review, named
from tools.review.plan import UNKNOWN, Plan, Resource, Step
from tools.review.review import review

NOW = 1_790_000_000.0
STITCH: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}
CONNECTED = {**STITCH, "connect": True}
S = "stitch_customerio"
HASH = {"primary": "6c85e37f82a3" + "1" * 52, "secondary": "d9672a1aeffa" + "2" * 52}
KEY = {"secure": "v1:abc"}
CREDENTIALS = {S: {"app_api_key": KEY, "signing_key": KEY}}


def file(*integrations: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    """A Pulumi.<stack>.yaml."""
    values = {"platform": "local", "integrations": list(integrations), "credentials": CREDENTIALS, **config}
    return {"encryptionsalt": "v1:x", "config": {f"sluice:{key}": value for key, value in values.items()}}


def aws(*integrations: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    return file(*integrations, platform="aws", **config)


def urn(type_: str, name: str, schema: str = "") -> str:
    return f"urn:pulumi:prod::sluice::{f'sluice:index:Integration${type_}' if schema else type_}::{name}"


def resource(
    type_: str, name: str, schema: str = "", /, *, outputs: Any = None, kept: bool = False, **inputs: Any
) -> Resource:
    return Resource(urn(type_, name, schema), inputs, outputs or {}, bool(inputs.pop("protected", False)), kept)


def step(op: str, type_: str, name: str, schema: str = "", /, **differences: tuple[Any, Any]) -> Step:
    """`differences`: (before, after) by property."""
    old = resource(type_, name, schema, **{key: value[0] for key, value in differences.items()})
    new = resource(type_, name, schema, **{key: value[1] for key, value in differences.items()})
    changed = frozenset(key for key, value in differences.items() if value[0] != value[1])
    is_there, stays = op not in ("create", "import"), op != "delete"
    return Step(op, old if is_there else None, new if stays else None, changed, changed)


def schema_of(name: str = S, **inputs: Any) -> Resource:
    given = {"name": name, "displayName": "Stitch Customer.io", "destroyData": False, "adopt": False, **inputs}
    return resource("sluice:index:PostgresSchema", f"{name}-schema", name, **given)


def state(
    *, slots: Mapping[str, int] | None = None, active: str = "primary", connected: bool = False, signed: bool = False,
    events: Any = ("all",), url: str = "http://127.0.0.1:8787", **schema: Any,
) -> list[Resource]:  # fmt: skip
    """What the last `up` left of a local stack with one integration."""
    slots = slots or {"primary": 1}
    shown = {"name": "Stitch Customer.io", "source": "customerio", "events": list(events), "active": active}
    outputs = {"integrations": {S: shown}, "receiver": url}
    made = [
        resource("pulumi:pulumi:Stack", "sluice-prod", outputs=outputs),
        resource("sluice:index:Receiver", "receiver"),
        resource("sluice:index:Integration", S),
        schema_of(**schema),
    ]
    for slot, version in slots.items():
        token = "random:index/randomPassword:RandomPassword"
        made.append(resource(token, f"{S}-token-{slot}", S, keepers={"version": str(version)}))
        own: dict[str, Any] = {"schema": S, "slot": slot, "hash": HASH[slot], "active": slot == active}
        made.append(
            resource("sluice:index:Endpoint", f"{S}-endpoint-{slot}", S, **own, connected=connected, signed=signed)
        )
    if connected:
        asked = list(EVENTS) if list(events) == ["all"] else list(events)
        made.append(resource("sluice:index:ReportingWebhook", f"{S}-webhook", S, events=asked, region="us"))
    return made


def rotation(slot: str = "primary", old: int = 1, new: int = 2) -> list[Step]:
    keepers = ({"version": str(old)}, {"version": str(new)})
    return [
        step("replace", "random:index/randomPassword:RandomPassword", f"{S}-token-{slot}", S, keepers=keepers),
        step("replace", "sluice:index:Endpoint", f"{S}-endpoint-{slot}", S, hash=(HASH[slot], UNKNOWN)),
    ]


def read(new: Mapping[str, Any], resources: list[Resource] | None = None, *steps: Step, **more: Any) -> Review:
    """The review of the config `new` for a stack with `resources`; `base`: a config file."""
    if "base" in more:
        more = {**more, "base": declared(more["base"]), "base_name": "main"}
    there = deployed(state() if resources is None else resources)
    return review(
        Evidence("prod", declared(new), there, more.pop("plan", Plan(tuple(steps))), now=NOW, **more),
    )


def said(found: Review) -> str:
    return "\n".join(line for section in found.sections for line in section.lines)


def alarms(found: Review, danger: str | None = None) -> list[str]:
    return [its.text for its in found.alarms if danger in (None, its.danger)]


NEVER = {HASH["primary"]: None, HASH["secondary"]: None}


# What a change means


def test_nothing_to_do_is_one_sentence() -> None:
    found = read(file(STITCH))
    assert found.summary == "Nothing changes."
    assert page.terminal(found, colour=False) == "stack prod (local): Nothing changes.\n"


def test_a_new_integration_is_told_with_its_url_events_schema_and_sender() -> None:
    other = {**STITCH, "name": "Second", "tokens": {"primary": 1, "secondary": 3}, "events": ["email_*", "push_sent"]}
    found = read(file(STITCH, other))
    (section,) = found.sections
    assert (section.sign, section.title) == ("+", "`Second`, schema `second`")
    assert "primary (version 1) and secondary (version 3)" in said(found)
    assert "15 of 72 events: `email_*` (14), `push_sent`" in said(found)
    assert "schema `second` is made; its rows will be kept if it is removed" in said(found)
    assert "by hand: somebody pastes its URL" in said(found)
    assert found.summary == "1 added."
    assert not found.alarms


def test_a_new_connected_and_signed_one_waits_for_its_key() -> None:
    waiting = {**CONNECTED, "name": "Second", "signed": True}
    assert "made disabled, until its signing key is stored" in said(read(file(STITCH, waiting)))


def test_the_first_up_of_a_stack_is_told_and_is_no_danger() -> None:
    created = [
        step("create", "sluice:index:PostgresServer", "postgres"),
        step("create", "sluice:index:Receiver", "receiver"),
    ]
    found = read(file(STITCH, destroyData=True), [], *created)
    assert found.summary == "The first `up` of this stack: 1 added."
    assert "dropped with the integration" in said(found)
    assert not found.alarms


def test_a_removed_integration_without_traffic_keeps_its_schema_and_is_no_danger() -> None:
    gone = step("delete", "sluice:index:PostgresSchema", f"{S}-schema", S, destroyData=(False, None))
    found = read(file(), None, gone, last_used=NEVER)
    assert found.sections[0].sign == "-"
    assert "primary (version 1, token `6c85e37f82a3`) is revoked after a drain" in said(found)
    assert f"schema of `{S}`: kept, with every row" in said(found)
    assert not found.alarms


def test_a_removed_integration_with_two_urls_is_told_of_both_and_of_no_address() -> None:
    found = read(file(port=9999), state(slots={"primary": 1, "secondary": 2}), last_used=NEVER)
    assert "`) are revoked after a drain" in said(found)
    assert "address of every URL" not in said(found)


def test_a_pinned_rename_keeps_everything() -> None:
    found = read(file({**STITCH, "name": "Other", "schema": S}))
    assert said(found) == "renamed from `Stitch Customer.io`; its schema, rows and URLs stay"
    assert found.summary == "1 renamed."


def test_a_connected_rotation_is_told_with_its_versions_and_is_no_danger() -> None:
    found = read(file({**CONNECTED, "tokens": {"primary": 2}}), state(connected=True), *rotation())
    assert "primary URL rotated: version 1 → 2, token `6c85e37f82a3` ends; connected" in said(found)
    assert "nothing is refused" in said(found)
    assert not found.alarms


def test_a_rotation_of_the_slot_that_nobody_posts_to_is_no_danger() -> None:
    both = state(slots={"primary": 1, "secondary": 1})
    new = file({**STITCH, "tokens": {"primary": 1, "secondary": 2}})
    found = read(new, both, *rotation("secondary"), last_used=NEVER)
    assert "secondary URL rotated: version 1 → 2, token `d9672a1aeffa` ends; the sender is given" in said(found)
    assert not found.alarms


def test_a_second_url_is_opened_switched_to_and_the_other_closed_without_danger() -> None:
    both = {"primary": 1, "secondary": 1}
    opened = read(file({**STITCH, "tokens": both}))
    assert "secondary URL opened (version 1)" in said(opened)
    switched = read(file({**STITCH, "tokens": both, "active": "secondary"}), state(slots=both))
    assert "active URL: primary → secondary; by hand: nothing changes until" in said(switched)
    closed = read(file(STITCH), state(slots=both), last_used=NEVER)
    assert "secondary URL closed (version 1, token `d9672a1aeffa`)" in said(closed)
    moved = read(file(CONNECTED), state(slots=both, active="secondary", connected=True))
    assert "the sender is moved to primary before that" in said(moved)
    assert not [*opened.alarms, *switched.alarms, *closed.alarms, *moved.alarms]


def test_events_are_named_and_a_whole_channel_by_its_pattern() -> None:
    found = read(file({**CONNECTED, "events": ["email_*", "push_sent"]}), state(connected=True))
    assert "events removed (57): `customer_*` (3), `in_app_*` (8), `push_drafted`, `push_attempted`" in said(found)
    assert "`sms_*` (11)" in said(found)
    assert "`email" not in said(found)
    back = read(file(CONNECTED), state(connected=True, events=["email_sent"]))
    assert "events added (71)" in said(back)
    assert "by hand" not in said(back)


def test_events_chosen_by_hand_have_to_be_chosen_there_too() -> None:
    assert "choose the same events at the sender" in said(read(file({**STITCH, "events": ["email_sent"]})))


def test_another_order_or_spelling_of_the_same_events_is_no_change() -> None:
    assert read(file({**STITCH, "events": ["*"]})).summary == "Nothing changes."
    assert read(file({**STITCH, "events": ["push_*", "email_*", "[!pe]*"]})).summary == "Nothing changes."


def test_events_in_words_gives_a_channel_only_where_none_of_it_is_left() -> None:
    slack = [name for name in EVENTS if name.startswith("slack_")]
    assert events_in_words(slack, EVENTS, set(EVENTS) - set(slack)) == "`slack_*` (6)"
    assert events_in_words(slack[1:], EVENTS, set(EVENTS) - set(slack[1:])).count("`slack_") == 5


def test_connecting_and_signing_are_told() -> None:
    found = read(file({**CONNECTED, "signed": True}))
    assert "connected: Sluice registers the webhook" in said(found)
    assert "signed: what has no valid signature is refused" in said(found)
    assert not found.alarms


def test_loading_and_adoption_are_told() -> None:
    found = read(file({**STITCH, "loading": "append", "adopt": True}))
    assert "loading: upsert → append" in said(found)
    assert "`adopt` is on: the schema is never dropped" in said(found)


def test_changed_views_are_named() -> None:
    differing = step("update", "sluice:index:PostgresSchema", f"{S}-schema", S, views=("a", "b"))
    views = Step("update", differing.old, differing.new, frozenset({"views"}), frozenset({"views.email_events"}))
    assert "views made anew: `email_events`" in said(read(file(STITCH), None, views))


def test_the_parts_of_the_platform_are_told_with_their_numbers() -> None:
    changes = {
        "code": ("a", "b"),
        "adminHost": ("127.0.0.1", "::"),
        "adminPort": (8788, 0),
        "spoolMaxBytes": (5368709120, 1048576.0),
    }
    found = read(file(STITCH), None, step("update", "sluice:index:Receiver", "receiver", **changes))
    assert "the receiver's code changes" in said(found)
    assert "the status page gets another address" in said(found)
    assert "the status page's port: 8788 → 0" in said(found)
    assert "the spool's bound: 5 368 709 120 → 1 048 576 bytes" in said(found)
    assert found.sections[-1].title == "The platform"


def test_the_function_and_the_retention_of_its_logs_are_told() -> None:
    found = read(
        aws(STITCH), state(url="https://x.lambda-url.eu-west-1.on.aws"),
        step("update", "aws:lambda/function:Function", "sluice-receiver", code=("a", "b"), memorySize=(512, 1024)),
        step("update", "aws:cloudwatch/logGroup:LogGroup", "sluice-receiver", retentionInDays=(30, 7)),
    )  # fmt: skip
    assert "the function's code changes" in said(found)
    assert "Function changed (`memorySize`)" in said(found)
    assert "logs are kept 30 → 7 days (`sluice-receiver`)" in said(found)


def test_what_no_sentence_is_about_is_counted_by_type() -> None:
    tags = [step("update", "aws:sns/topic:Topic", f"t{n}", tags=({"a": "secret-looking"}, {})) for n in range(3)]
    assert "3 × Topic changed (`tags`)" in said(read(aws(STITCH), None, *tags))


def test_fixed_costs_are_told_on_aws_by_integration_and_nowhere_else() -> None:
    alarm = "aws:cloudwatch/metricAlarm:MetricAlarm"
    steps = [step("create", alarm, f"second-{name}", "second") for name in ("late", "undelivered", "silent")]
    steps.append(step("delete", alarm, f"{S}-late", S))
    assert costs.changes(steps) == [
        "`second`: +$0.30 a month (+3 alarms)",
        f"`{S}`: −$0.10 a month (-1 alarm)",
    ]
    second = {**STITCH, "name": "Second"}
    assert "`second`: +$0.30 a month" in said(read(aws(STITCH, second), None, *steps))
    assert "month" not in said(read(file(STITCH, second), None, *steps))


def test_more_events_cost_more() -> None:
    found = read(file({**CONNECTED, "fullResolution": True}), state(connected=True))
    assert "`fullResolution` is on: more comes, and costs more" in said(found)


def test_what_drifted_and_what_an_earlier_up_left_is_told() -> None:
    receiver = step("update", "sluice:index:Receiver", "receiver", running=(True, False))
    stopped = Step("update", receiver.old, receiver.new, frozenset({"running"}), frozenset(), frozenset({"running"}))
    (endpoint,) = [its for its in state() if its.type == "sluice:index:Endpoint"]
    left = Resource(endpoint.urn, endpoint.inputs, is_left_over=True)
    found = read(file(STITCH), [*state(), left], stopped, left=["the last update failed"])
    assert "the last update failed" in found.left
    assert "`receiver` (Receiver) isn't as the last `up` left it, and is put right" in found.left
    assert (
        "the old primary URL of `Stitch Customer.io` still works, from an `up` that failed; it ends now" in found.left
    )


# With a base


def test_with_a_base_what_was_never_deployed_stands_apart() -> None:
    before = file({**CONNECTED, "tokens": {"primary": 2}})
    now = file({**CONNECTED, "tokens": {"primary": 2}, "events": ["email_sent"]})
    found = read(now, state(connected=True), *rotation(), base=before)
    assert "events removed (71)" in said(found)
    assert "rotated" not in said(found)
    assert "primary URL rotated" in found.earlier[0].lines[0]
    assert "Never deployed: said at `main` already" in page.markdown(found)
    assert "never deployed: said at main already" in page.terminal(found, colour=False)


def test_with_a_base_a_danger_of_before_is_still_on_top_and_says_so() -> None:
    now = file({**STITCH, "tokens": {"primary": 2}})
    found = read(now, None, *rotation(), base=now)
    assert [its.is_earlier for its in found.alarms] == [True]
    assert "*(said at `main` already)*" in page.markdown(found)


def test_with_a_base_changed_code_is_this_changes_own() -> None:
    code = step("update", "sluice:index:Receiver", "receiver", code=("a", "b"))
    assert read(file(STITCH), None, code, base=file(STITCH)).earlier
    assert read(file(STITCH), None, code, base=file(STITCH), code=frozenset({("", "code")})).sections


# What must not be overlooked: data


def test_a_dropped_schema_is_loud() -> None:
    gone = step("delete", "sluice:index:PostgresSchema", f"{S}-schema", S, destroyData=(True, None))
    found = read(file(), state(destroyData=True), gone, last_used=NEVER)
    assert alarms(found, "data") == [f"schema of `{S}`: **dropped with every row**"]


def test_an_adopted_schema_is_never_dropped() -> None:
    gone = step("delete", "sluice:index:PostgresSchema", f"{S}-schema", S, destroyData=(True, None), adopt=(True, None))
    assert not read(file(), None, gone, last_used=NEVER).alarms


@pytest.mark.parametrize("known_by", ["state", "base"])
def test_destroy_data_turned_on_is_loud(known_by: str) -> None:
    now = file(STITCH, destroyData=True)
    found = read(now) if known_by == "state" else read(now, [], base=file(STITCH))
    assert "`destroyData` is turned on" in alarms(found, "data")[0]


def test_one_resource_and_several_are_counted_in_english() -> None:
    (one,) = [step("update", "sluice:index:PostgresSchema", f"{S}-schema", S, destroyData=(False, True))]
    assert read(file(STITCH, destroyData=True), None, one).summary == "1 resource changes, and no integration."
    assert read(file(STITCH, destroyData=True), None, one, one).summary == "2 resources change, and no integration."


def test_destroy_data_that_was_on_or_goes_off_is_not() -> None:
    assert not read(file(STITCH, destroyData=True), state(destroyData=True)).alarms
    off = read(file(STITCH), state(destroyData=True))
    assert "turned off" in said(off)
    assert not off.alarms


def bucket(*, protected: bool) -> Resource:
    return Resource(urn("aws:s3/bucket:Bucket", "sluice-lake"), {"forceDestroy": False}, {}, protected)


def test_protect_turned_off_is_loud_and_turned_on_is_told() -> None:
    off = read(aws(STITCH, protect=False), [*state(), bucket(protected=True)])
    assert "`protect` is turned off" in alarms(off, "data")[0]
    assert alarms(read(aws(STITCH, protect=False), [], base=aws(STITCH)), "data")
    on = read(aws(STITCH), [*state(), bucket(protected=False)])
    assert "`protect` is turned on" in said(on)
    assert not on.alarms


DATABASE, TABLE = "aws:glue/catalogDatabase:CatalogDatabase", "aws:glue/catalogTable:CatalogTable"
ICEBERG: dict[str, Any] = {"icebergInput": {}}


def deletion(type_: str, name: str, schema: str, /, *, kept: bool, **inputs: Any) -> Step:
    return Step("delete", resource(type_, name, schema, kept=kept, **inputs), None)


def test_deleted_databases_tables_and_buckets_are_loud_and_kept_ones_are_not() -> None:
    def steps(kept: bool) -> list[Step]:
        return [
            deletion(DATABASE, f"{S}-database", S, kept=kept),
            deletion(TABLE, f"{S}-table-data", S, kept=kept, openTableFormatInput=ICEBERG),
            deletion(TABLE, f"{S}-table-sdc_rejected", S, kept=kept, openTableFormatInput=ICEBERG),
            deletion(TABLE, f"{S}-view-email_events", S, kept=False, tableType="VIRTUAL_VIEW"),
            deletion("aws:s3/bucket:Bucket", "sluice-lake", "", kept=kept),
        ]

    lost = read(aws(), None, *steps(kept=False), last_used=NEVER)
    assert alarms(lost, "data") == [
        f"database and 2 tables of `{S}`: **dropped with every row**",
        "the stack's bucket: **dropped with every row**",
    ]
    kept = read(aws(), None, *steps(kept=True), last_used=NEVER)
    assert f"database and 2 tables of `{S}`: kept, with every row (declared again it needs `adopt: true`)" in said(kept)
    assert not kept.alarms


@pytest.mark.parametrize("type_", [DATABASE, TABLE, "aws:s3/bucket:Bucket"])
def test_replaced_ones_are_loud(type_: str) -> None:
    replaced = step("replace", type_, "it", S, openTableFormatInput=(ICEBERG, {"other": 1}))
    assert (
        "replaced by an empty one; the old one is deleted with every row"
        in alarms(read(aws(STITCH), None, replaced))[0]
    )


def test_another_warehouse_is_loud() -> None:
    elsewhere = [
        step("delete", "sluice:index:PostgresServer", "postgres"),
        step("update", "sluice:index:Receiver", "receiver", warehouseDsn=("[secret]", "[secret] ")),
    ]
    assert "the warehouse changes" in alarms(read(file(STITCH, warehouseDsn=KEY), None, *elsewhere), "data")[0]
    back = [step("create", "sluice:index:PostgresServer", "postgres"), elsewhere[1]]
    assert "the warehouse changes" in alarms(read(file(STITCH), None, *back), "data")[0]
    assert "the warehouse changes" in alarms(read(file(STITCH), None, elsewhere[1]), "data")[0]


def test_the_same_warehouse_on_another_port_is_not() -> None:
    port = [
        step("update", "sluice:index:PostgresServer", "postgres", port=(0, 5433)),
        step("update", "sluice:index:Receiver", "receiver", warehouseDsn=("[secret]", UNKNOWN)),
    ]
    found = read(file(STITCH), None, *port)
    assert said(found) == "PostgreSQL is given another port"
    assert not found.alarms


@pytest.mark.parametrize("type_", ["BucketVersioning", "BucketLifecycleConfiguration"])
def test_what_the_bucket_forgets_is_loud(type_: str) -> None:
    changed = step("update", f"aws:s3/{type_[0].lower() + type_[1:]}:{type_}", "sluice-lake", rules=(1, 2))
    assert f"`{type_}`" in alarms(read(aws(STITCH), None, changed), "data")[0]


def test_a_stream_that_goes_at_once_or_is_replaced_is_loud() -> None:
    stream = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
    gone = step("delete", stream, f"{S}-stream", S)
    assert "`streamDrain: 0`" in alarms(read(aws(streamDrain=0), None, gone, last_used=NEVER), "data")[0]
    assert not read(aws(), None, gone, last_used=NEVER).alarms
    assert "the stream of" in alarms(read(aws(STITCH), None, step("replace", stream, f"{S}-stream", S)), "data")[0]


# … feeds


def test_a_rotation_by_hand_of_the_active_url_is_loud_and_names_the_way_without_a_gap() -> None:
    (alarm,) = alarms(read(file({**STITCH, "tokens": {"primary": 2}}), None, *rotation()), "feed")
    assert "gets 401 and waits an hour" in alarm
    assert "use secondary as well" in alarm


def test_a_rotation_of_an_inactive_url_that_still_has_traffic_is_loud() -> None:
    both = state(slots={"primary": 1, "secondary": 1})
    new = file({**STITCH, "tokens": {"primary": 1, "secondary": 2}})
    used = {**NEVER, HASH["secondary"]: NOW - 2 * 3600}
    assert "its last delivery came 2 hours ago" in alarms(read(new, both, *rotation("secondary"), last_used=used))[0]


def test_a_rotation_and_a_connection_in_one_up_is_loud() -> None:
    (alarm,) = alarms(read(file({**CONNECTED, "tokens": {"primary": 2}}), None, *rotation()), "feed")
    assert "Connect first" in alarm


def test_a_token_that_is_replaced_without_a_bump_is_loud() -> None:
    found = read(file(CONNECTED), state(connected=True), *rotation(new=1))
    assert "no number was bumped" in alarms(found, "feed")[0]


def test_a_rotation_without_a_drain_is_loud() -> None:
    found = read(file({**CONNECTED, "tokens": {"primary": 2}}, drain=0), state(connected=True), *rotation())
    assert "`drain` is 0" in alarms(found, "feed")[0]


def test_a_closed_active_url_is_loud_where_the_sender_is_moved_by_hand() -> None:
    both = state(slots={"primary": 1, "secondary": 1}, active="secondary")
    (alarm,) = alarms(read(file(STITCH), both), "feed")
    assert "the secondary URL of `Stitch Customer.io` is closed, and it is the active one" in alarm


def test_a_closed_url_that_still_has_traffic_is_loud() -> None:
    both = state(slots={"primary": 1, "secondary": 1})
    used = {**NEVER, HASH["secondary"]: NOW - 60}
    assert "its last delivery came 1 minute ago" in alarms(read(file(STITCH), both, last_used=used), "feed")[0]


@pytest.mark.parametrize(
    ("used", "text"),
    [
        ({HASH["primary"]: NOW - 5}, "its last delivery came less than a minute ago"),
        ({HASH["primary"]: NOW - 6 * 86400}, "its last delivery came 6 days ago"),
        (None, "whether it has traffic isn't known"),
        ({HASH["primary"]: NOW - 8 * 86400}, ""),
        ({HASH["primary"]: None}, ""),
    ],
)
def test_a_removed_integration_is_loud_unless_it_is_known_to_be_idle(used: Any, text: str) -> None:
    found = alarms(read(file(), last_used=used), "feed")
    assert (text in found[0]) if text else not found


def test_a_rename_without_a_pin_is_recognised() -> None:
    (alarm,) = alarms(read(file({**STITCH, "name": "New"})), "feed")
    hint = f"if `New` is the same one renamed, pin `schema: {S}` there"
    assert hint in alarm
    idle = read(file({**STITCH, "name": "New"}), last_used=NEVER)
    assert hint in said(idle)
    assert not idle.alarms


def test_a_disconnected_integration_is_loud() -> None:
    assert "nothing comes until" in alarms(read(file(STITCH), state(connected=True)), "feed")[0]


def test_signing_without_a_key_is_loud() -> None:
    assert "all is refused" in alarms(read(file({**STITCH, "signed": True}, credentials={})), "feed")[0]
    assert not read(file({**STITCH, "signed": True})).alarms
    sealed = file({**STITCH, "signed": True}, credentials={"secure": "v1:all"})
    assert not read(sealed).alarms, "what is encrypted as a whole can't be looked into"


def test_a_changed_signing_key_without_the_previous_one_is_loud() -> None:
    keys = step("update", "sluice:index:Endpoint", f"{S}-endpoint-primary", S, signingKeys=("[secret]", "[secret] "))
    signed = {**STITCH, "signed": True}
    assert "`previous_signing_key`" in alarms(read(file(signed), state(signed=True), keys), "feed")[0]
    both = {S: {"signing_key": KEY, "previous_signing_key": KEY}}
    assert not read(file(signed, credentials=both), state(signed=True), keys).alarms


def test_another_api_is_told() -> None:
    moved = step("update", "sluice:index:ReportingWebhook", f"{S}-webhook", S, apiUrl=("https://a", "https://b"))
    assert "another `customerioApi`" in said(read(file(CONNECTED), state(connected=True), moved))


def test_another_region_is_loud() -> None:
    assert "another workspace" in alarms(read(file({**CONNECTED, "region": "eu"}), state(connected=True)), "feed")[0]


@pytest.mark.parametrize("config", [{"publicUrl": "https://hooks.example.com"}, {"port": 9999}])
def test_another_address_is_loud_for_senders_by_hand_alone(config: dict[str, Any]) -> None:
    assert (
        "paste the new ones at the senders of `Stitch Customer.io`" in alarms(read(file(STITCH, **config)), "feed")[0]
    )
    assert not read(file(CONNECTED, **config), state(connected=True)).alarms


def test_another_port_behind_a_tunnel_is_loud_for_every_sender() -> None:
    public = "https://hooks.example.com"
    port = step("update", "sluice:index:Receiver", "receiver", port=(8787, 8790), publicUrl=(public, public))
    for integration, connected in ((STITCH, False), (CONNECTED, True)):
        there = state(connected=connected, url=public)
        (alarm,) = alarms(read(file(integration, publicUrl=public, port=8790), there, port), "feed")
        assert "until the tunnel or proxy behind `publicUrl` leads there" in alarm


def test_on_aws_the_address_is_the_functions_unless_it_is_given() -> None:
    made = resource("aws:lambda/functionUrl:FunctionUrl", "r", outputs={"functionUrl": "https://a.on.aws/"})
    there = [*state(url="https://a.on.aws"), made]
    assert not read(aws(STITCH), there).alarms
    assert "paste" in alarms(read(aws(STITCH, publicUrl="https://b.example.com"), there), "feed")[0]


@pytest.mark.parametrize(
    "type_", ["aws:lambda/functionUrl:FunctionUrl", "aws:dynamodb/table:Table", "aws:lambda/function:Function"]
)
def test_a_replaced_or_deleted_way_in_is_loud(type_: str) -> None:
    assert "every sender may be refused" in alarms(read(aws(STITCH), None, step("replace", type_, "x")), "feed")[0]
    assert "every sender is refused" in alarms(read(aws(STITCH), None, step("delete", type_, "x")), "feed")[0]


def test_reserved_concurrency_is_loud_when_set_or_lowered() -> None:
    assert "no limit of its own → 5" in alarms(read(aws(STITCH, reservedConcurrency=5)), "feed")[0]
    limited = [*state(), resource("aws:lambda/function:Function", "f", reservedConcurrentExecutions=10.0)]
    assert "10 → 5" in alarms(read(aws(STITCH, reservedConcurrency=5), limited), "feed")[0]
    assert not read(aws(STITCH, reservedConcurrency=20), limited).alarms


# … secrets


def test_a_secret_in_clear_is_loud_and_isnt_shown() -> None:
    secret, password = "sk_0123456789abcdef", "hunter2-hunter2"
    token = "slc_" + "a" * 49
    config = file(
        {**STITCH, "name": f"Stitch {token}"},
        credentials={S: {"signing_key": secret, "app_api_key": KEY}},
        warehouseDsn=f"postgresql://u:{password}@h/db",
        alarmEmail=f"https://u:{password}@example.com",
    )
    found = read(config, plan=Plan(errors=(f"cannot use {secret} at postgresql://u:{password}@h/db",)))
    assert len([text for text in alarms(found, "secret") if "holds a secret in clear" in text]) == 4
    assert f"`sluice:credentials.{S}.signing_key`" in alarms(found, "secret")[0] + alarms(found, "secret")[1]
    pages = {"markdown": page.markdown(found).encode(), "terminal": page.terminal(found, colour=True).encode()}
    assert not [name for value in (secret, password, token) for name in places_of(value, pages)]


@pytest.mark.parametrize(
    "key", ["signing_key", "app_api_key", "previous_signing_key", "signingKey", "token", "password", "warehouse_dsn"]
)
def test_a_secret_at_another_place_than_its_own_is_loud(key: str) -> None:
    config = file({**STITCH, key: "0123456789abcdef0123"})
    assert f"`sluice:integrations[0].{key}` holds a secret in clear" in alarms(read(config), "secret")[0]
    there = {"config": {f"aws:{key}": "0123456789abcdef0123", **config["config"]}}
    assert f"`aws:{key}` holds a secret in clear" in alarms(read(there), "secret")[0]


def test_an_encrypted_secret_and_a_number_are_none_in_clear() -> None:
    settings = {"aws:secretKey": KEY, "policy:maxTokenAgeDays": "90", "aws:region": "eu-west-1"}
    assert not read({"config": {**file(STITCH)["config"], **settings}}).alarms
    assert alarms(read({"config": {"x:y": f"AKIA{'A1' * 8}"}}), "secret")


@pytest.mark.parametrize("op", ["create", "update"])
def test_a_status_page_for_others_is_loud(op: str) -> None:
    receiver = step(op, "sluice:index:Receiver", "receiver", adminHost=("127.0.0.1", "192.0.2.7"))
    (alarm,) = alarms(read(file(STITCH, adminHost="192.0.2.7"), None, receiver), "secret")
    assert "open to whoever reaches `192.0.2.7`, without a password" in alarm
    assert not read(file(STITCH, adminHost="192.0.2.7", adminPort=0), None, receiver).alarms
    assert not read(file(STITCH, adminHost="localhost"), None, receiver).alarms
    assert not read(file(STITCH, adminHost="192.0.2.7"), None, step("update", receiver.type, "x", code=(1, 2))).alarms


def test_a_secret_that_was_in_clear_is_still_in_the_history() -> None:
    before = file(STITCH, credentials={S: {"signing_key": "sk_0123456789abcdef"}})
    assert "the history still does" in alarms(read(file(STITCH), base=before), "secret")[0]


@pytest.mark.parametrize("key", ["publicUrl", "customerioApi"])
def test_an_http_address_is_loud_unless_it_is_this_machines(key: str) -> None:
    assert alarms(read(file(STITCH, **{key: "http://hooks.example.com"})), "secret")
    assert not alarms(read(file(STITCH, **{key: "http://127.0.0.1:8787"})), "secret")


def test_signing_turned_off_is_loud() -> None:
    assert "lets anybody post" in alarms(read(file(STITCH), state(signed=True)), "secret")[0]


def test_another_encryption_of_the_config_is_loud() -> None:
    other = {**file(STITCH), "encryptionsalt": "v1:y"}
    assert "encrypted with changes" in alarms(read(other, base=file(STITCH)), "secret")[0]


def policy(*actions: str, resource: str = "arn:aws:s3:::b", **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": [resource], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_a_policy_is_wider_by_actions_resources_or_fewer_conditions() -> None:
    narrow = policy("s3:GetObject", Condition={"Bool": {"x": "y"}})
    assert policies.widened(narrow, narrow) == []
    assert policies.widened(policy("s3:GetObject", "s3:PutObject"), policy("s3:GetObject")) == []
    assert policies.widened(narrow, policy("s3:GetObject", "s3:*", Condition={})) == ["allows `s3:*`"]
    (more,) = policies.widened(narrow, policy("s3:GetObject"))
    assert "fewer conditions" in more
    assert policies.widened(policy("s3:GetObject"), policy("s3:GetObject", resource="*"))
    denied = json.dumps({"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}})
    assert policies.widened(denied, json.dumps({"Statement": []})) == ["denies less"]
    assert policies.widened(narrow, UNKNOWN) == ["what it allows isn't known before the up"]
    assert policies.widened("x", narrow) == ["what it allows can't be read"]
    assert policies.widened(None, policy("slc_secret", "s3:GetObject")) == ["allows `an action`, `s3:GetObject`"]


def test_a_widened_policy_is_loud_and_a_narrowed_one_is_not() -> None:
    role = "aws:iam/rolePolicy:RolePolicy"
    wide, narrow = policy("s3:GetObject", "s3:PutObject"), policy("s3:GetObject")
    widened = read(aws(STITCH), None, step("update", role, "sluice-receiver", policy=(narrow, wide)))
    assert alarms(widened, "secret") == ["`sluice-receiver` (RolePolicy) allows `s3:PutObject`"]
    assert not read(aws(STITCH), None, step("update", role, "sluice-receiver", policy=(wide, narrow))).alarms
    assert alarms(read(aws(STITCH), None, step("create", role, "other", policy=(None, wide))), "secret")


def test_another_attached_policy_is_loud() -> None:
    attached = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    (alarm,) = alarms(read(aws(STITCH), None, step("create", attached, "more", policyArn=(None, "arn:x"))), "secret")
    assert alarm == "`more` (RolePolicyAttachment) is made: it allows what another policy says"
    assert not read(aws(STITCH), None, step("delete", attached, "more")).alarms


def test_a_new_integrations_own_policies_are_not() -> None:
    own = step(
        "create", "aws:iam/rolePolicy:RolePolicy", "second-tables", "second", policy=(None, policy("glue:GetTable"))
    )
    assert not read(aws(STITCH, {**STITCH, "name": "Second"}), None, own).alarms


@pytest.mark.parametrize(
    "type_", ["BucketPublicAccessBlock", "BucketPolicy", "BucketServerSideEncryptionConfiguration"]
)
def test_what_guards_the_bucket_is_loud_when_it_goes(type_: str) -> None:
    gone = step("delete", f"aws:s3/{type_[0].lower() + type_[1:]}:{type_}", "sluice-lake")
    assert "guards the bucket" in alarms(read(aws(STITCH), None, gone), "secret")[0]


def test_another_permission_is_loud() -> None:
    permission = "aws:lambda/permission:Permission"
    assert alarms(read(aws(STITCH), None, step("create", permission, "more")), "secret")
    assert alarms(read(aws(STITCH), None, step("delete", permission, "sluice-receiver-url")), "feed")


# The page


def test_a_refused_config_is_the_top_of_the_page() -> None:
    errors = ("the config of stack prod has 2 mistakes; nothing was changed:\n  - one\n  - ```two",)
    found = read(file(STITCH), plan=Plan(errors=errors))
    text = page.markdown(found)
    assert text.splitlines()[:5] == [page.MARKER, "## Stack `prod` (local)", "", found.summary, ""]
    assert "### ❌ Refused" in text
    assert "  - one" in text
    assert text.count("```") == 2
    assert "  - one" in page.terminal(found, colour=False)


def test_the_dangers_come_before_everything_else() -> None:
    gone = step("delete", "sluice:index:PostgresSchema", f"{S}-schema", S, destroyData=(True, None))
    text = page.markdown(read(file(), None, gone))
    assert text.index("loses data") < text.index("cuts a feed off") < text.index("removed: its URL")


def test_a_name_is_no_markup() -> None:
    hostile = {**STITCH, "name": "`@me` **b** <b>x", "schema": S}
    found = read(file(hostile))
    assert "**`'@me' **b** <b>x`, schema" in page.markdown(found)
    assert "~ '@me' **b** <b>x, schema" in page.terminal(found, colour=False)
    assert named("a\r# b\u2028c\u202ed") == "`a # b c d`"


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("sequence", ["\x1b]0;title\x07", "\x1b[2J", "\x1b[8m", "\x9b2J", "\u202e", "\r", "\x08"])
def test_an_error_or_a_name_moves_no_cursor_and_turns_no_text(sequence: str, colour: bool) -> None:
    from_state = [
        *state(slots={"primary": 1})[:-2],
        *(its for its in state(displayName=f"An{sequence}Old one") if its.schema),
    ]
    renamed = read(file(STITCH), from_state)
    refused = review(Evidence("prod", declared(file(STITCH)), plan=Plan(errors=(f"an{sequence}\n\terror",))))
    for found in (renamed, refused):
        for text in (page.terminal(found, colour=colour), page.markdown(found)):
            assert sequence not in text
    assert "n    error" not in page.terminal(refused, colour=colour)
    assert "    error" in page.terminal(refused, colour=colour)


def test_the_bases_name_is_no_markup() -> None:
    found = read(file({**STITCH, "tokens": {"primary": 2}}), None, *rotation(), base=file(STITCH, port=1))
    assert not found.earlier
    now = file({**STITCH, "tokens": {"primary": 2}})
    earlier = replace(read(now, None, *rotation(), base=now), base_name="a`<b>**@x")
    assert page.markdown(earlier).count("`a'<b>**@x`") == 2


@pytest.mark.parametrize("password", ["zebra**quagga", "zebra`quagga", 'zebra"\\quagga', "zebra\u200bquagga"])
def test_a_secret_is_taken_out_in_whatever_form_it_is_shown(password: str) -> None:
    config = file({**STITCH, "name": "Other", "schema": S}, credentials={S: {"signing_key": password}})
    errors = (f"can't use {password}", f"= {json.dumps(password)}")
    refused = read(config, plan=Plan(errors=errors))
    told = replace(refused, left=(f"{named(password)} is left",))
    for text in (page.markdown(told), page.terminal(told, colour=True), page.terminal(told, colour=False)):
        assert "zebra" not in text
        assert text.count("[secret]") == 3


def test_a_terminal_has_colour_only_where_it_is_asked_for() -> None:
    found = read(file({**STITCH, "tokens": {"primary": 2}}), None, *rotation())
    assert "\x1b[1;31m" in page.terminal(found, colour=True)
    assert "\x1b" not in page.terminal(found, colour=False)
    assert "`" not in page.terminal(found, colour=False)


def test_no_raw_value_of_the_engines_diff_is_shown() -> None:
    """Whatever a plugin forgot to mark: no property's value of any type gets onto the page."""
    secret = "Zq8mW1xT5vB9nK3rD7yL"
    types = [
        *(
            "sluice:index:Receiver",
            "sluice:index:Endpoint",
            "sluice:index:ReportingWebhook",
            "sluice:index:PostgresServer",
        ),
        *("aws:lambda/function:Function", "aws:iam/rolePolicy:RolePolicy", "aws:s3/bucketPolicy:BucketPolicy"),
        *(
            "aws:ssm/parameter:Parameter",
            "aws:cloudwatch/logGroup:LogGroup",
            "random:index/randomPassword:RandomPassword",
        ),
        *("sluice:index:PostgresSchema", "aws:sns/topic:Topic"),
    ]
    names: tuple[str, ...] = (
        "code",
        "port",
        "adminPort",
        "spoolMaxBytes",
        "publicUrl",
        "warehouseDsn",
        "signingKeys",
        "value",
        "policy",
    )
    names += ("appApiKey", "retentionInDays", "displayName", "keepers", "result", "events", "tags", "endpoint", "name")
    differences = dict.fromkeys(names, (f"{secret}a", f"{secret}b"))
    for op in ("update", "replace", "create", "delete"):
        for own in ("", S):
            steps = [step(op, type_, "it-primary", own, **differences) for type_ in types]
            for new in (file({**CONNECTED, "signed": True}), file()):
                found = read(new, state(connected=True, signed=True), *steps)
                shown = {"page": (page.markdown(found) + page.terminal(found, colour=True)).encode()}
                assert not places_of(secret, shown), (op, own)


@pytest.mark.parametrize(
    "text",
    ["slc_" + "A1" * 20, "postgresql://u:p4ss-w0rd-long@h/db", "https://h/v1/stitch_customerio/Zq8mW1xT5vB9nK3rD7yL"],
)
def test_what_looks_like_a_secret_in_an_error_is_taken_out(text: str) -> None:
    found = read(file(STITCH), plan=Plan(errors=(f"couldn't use {text}: sorry",)))
    for shown in (page.markdown(found), page.terminal(found, colour=False)):
        assert text not in shown
        assert "sorry" in shown


# Reading


def test_a_preview_is_read_as_the_engine_prints_it() -> None:
    name = urn("sluice:index:Endpoint", f"{S}-endpoint-primary", S)
    own = {"urn": name, "inputs": {"hash": "a"}, "protect": True, "retainOnDelete": True}
    replacing = {"op": "replace", "urn": name, "oldState": own, "newState": own, "replaceReasons": ["hash"],
                 "detailedDiff": {"hash": {"kind": "update-replace", "inputDiff": True},
                                  "state": {"kind": "update", "inputDiff": False}}}  # fmt: skip
    same = {"op": "same", "urn": urn("pulumi:pulumi:Stack", "x"), "oldState": own, "newState": own}
    warning = {"severity": "warning", "message": "warning: no"}
    (found,) = plans.plan({"steps": [same, replacing], "diagnostics": [warning]}).steps
    assert (found.op, found.name, found.schema, found.resource.slot) == (
        "replace",
        f"{S}-endpoint-primary",
        S,
        "primary",
    )
    assert found.changed == {"hash", "state"}
    assert found.drifted == {"state"}
    assert found.resource.is_protected and found.resource.is_kept


def test_the_errors_of_a_preview_leave_out_that_there_was_one() -> None:
    said = ["error: the config of stack dev has a mistake\n", "error: an unhandled error occurred: program exited\n"]
    found = plans.plan({"diagnostics": [{"severity": "error", "message": text} for text in said]})
    assert found.errors == ("the config of stack dev has a mistake",)
    assert plans.plan({"diagnostics": [{"severity": "error", "message": said[1]}]}).errors


def test_protected_resources_are_one_error_that_says_what_to_do() -> None:
    text = 'error: Preview failed: resource "{}" cannot be deleted\nbecause it is protected. To unprotect …'
    said = [text.format(urn(TABLE, name, S)) for name in (f"{S}-table-data", f"{S}-table-sdc_rejected")]
    (error,) = plans.plan({"diagnostics": [{"severity": "error", "message": each} for each in said]}).errors
    assert f"{S}-table-data, {S}-table-sdc_rejected\nIf it is meant to go: `sluice:protect: false`" in error


def test_a_config_with_mistakes_is_read_as_far_as_it_goes() -> None:
    found = declared(file(STITCH, {"name": 3}, {"name": "日本", "source": "customerio", "tokens": {"primary": 1}}))
    assert list(found.integrations) == [S]
    for nonsense in ({}, {"config": None}, {"config": [1]}, {"config": {"sluice:integrations": "x"}}):
        assert declared(nonsense).integrations == {}


def test_a_config_that_pulumi_wrote_anew_says_what_it_said() -> None:
    """`pulumi config set` and `stack init` make texts of the file's numbers and flags."""
    written = {"destroyData": "true", "protect": "false", "adminPort": "0", "reservedConcurrency": "10"}
    meant = {"destroyData": True, "protect": False, "adminPort": 0, "reservedConcurrency": 10}
    read_again = declared({"config": {f"sluice:{key}": value for key, value in written.items()}}).settings
    assert {key: read_again[key] for key in meant} == meant
    kept = {"publicUrl": "https://x", "port": "no number"}
    assert kept.items() <= declared({"config": {f"sluice:{k}": v for k, v in kept.items()}}).settings.items()
