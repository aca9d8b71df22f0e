"""What happens in a Customer.io workspace: the 72 event names, and a generator of events with the documented fields.

Written from Customer.io's documents alone and on purpose not from `components.customerio`, which it is to check:
the names are the `events` enum of POST /v1/reporting_webhooks (OpenAPI of the App API, 2026-09-17), in its order; the
shapes are those of "Reporting webhooks" (https://docs.customer.io/api/webhooks).
"""

import json
import random
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

_ENUM = """
customer_subscribed customer_unsubscribed customer_subscription_preferences_changed
email_drafted email_attempted email_sent email_delivered email_opened email_clicked email_converted email_bounced
email_dropped email_deferred email_spammed email_failed email_unsubscribed email_undeliverable
in_app_drafted in_app_attempted in_app_sent in_app_opened in_app_clicked in_app_converted in_app_failed
in_app_undeliverable
push_drafted push_attempted push_sent push_delivered push_opened push_clicked push_converted push_bounced push_dropped
push_failed push_undeliverable
slack_drafted slack_attempted slack_sent slack_clicked slack_converted slack_failed
sms_drafted sms_attempted sms_sent sms_delivered sms_clicked sms_converted sms_bounced sms_dropped sms_failed
sms_undeliverable sms_replied
whatsapp_drafted whatsapp_attempted whatsapp_sent whatsapp_delivered whatsapp_opened whatsapp_clicked
whatsapp_converted whatsapp_bounced whatsapp_dropped whatsapp_failed whatsapp_undeliverable whatsapp_replied
webhook_drafted webhook_attempted webhook_sent webhook_clicked webhook_converted webhook_failed webhook_undeliverable
"""
EVENTS: tuple[str, ...] = tuple(_ENUM.split())

PREFERENCES_METRIC = "cio_subscription_preferences_changed"
PREFERENCES_EVENT = "customer_subscription_preferences_changed"

# Per channel and metric: the fields of `data` besides those that say where the message came from. A metric of the
# enum without a line (email_deferred, sms_dropped, slack_converted, webhook_converted) has no documented fields.
_FIELDS_OF_METRICS = """
email drafted delivered converted unsubscribed spammed: recipient subject
email sent: recipient subject content headers
email opened: recipient subject proxied prefetched synthetic
email clicked: recipient subject href link_id machine
email bounced dropped undeliverable: recipient subject failure_message
email attempted: failure_message
email failed: failure_message subject
push sent: recipients content
push delivered opened converted: recipients
push clicked: recipients href link_id
push bounced dropped: failed_recipients
push attempted failed undeliverable: failure_message
sms sent: recipient content
sms delivered converted: recipient
sms clicked: recipient href link_id
sms bounced: recipient failure_message
sms attempted failed undeliverable: failure_message
sms replied: inbound_event_id to recipient
whatsapp sent: recipient content
whatsapp delivered converted opened: recipient
whatsapp clicked: recipient href link_id
whatsapp bounced dropped: recipient failure_message
whatsapp attempted failed undeliverable: failure_message
whatsapp replied: inbound_event_id to recipient
slack sent: recipient content
slack clicked: recipient href link_id
slack attempted failed undeliverable: failure_message
webhook sent: recipient content
webhook clicked: recipient href link_id
webhook attempted failed undeliverable: failure_message
in_app sent: recipient content
in_app clicked: recipient href link_id tracked_response
in_app converted: recipient
in_app attempted failed undeliverable: failure_message
"""


def _fields() -> Iterator[tuple[str, list[str]]]:
    for line in _FIELDS_OF_METRICS.strip().splitlines():
        metrics, fields = line.split(":")
        channel, *names = metrics.split()
        for metric in names:
            yield f"{channel}_{metric}", fields.split()


FIELDS: dict[str, list[str]] = dict(_fields())
CHANNELS = ("customer", "email", "in_app", "push", "slack", "sms", "whatsapp", "webhook")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def name_of(event: dict[str, Any]) -> str:
    """The name in the enum under which an event is asked for: `object_type` + `_` + `metric`, with two exceptions.

    The preferences event has another metric than its name says, and an event about a person's subscription has the
    channel that caused it as `object_type` (`email` + `subscribed`). An `unsubscribed` event of the channel email may
    be either of two names: the one about the person has an `email_address`.
    """
    object_type, metric = event["object_type"], event["metric"]
    if metric == PREFERENCES_METRIC:
        return PREFERENCES_EVENT
    if metric in ("subscribed", "unsubscribed") and (
        f"{object_type}_{metric}" not in EVENTS or "email_address" in event.get("data", {})
    ):
        return f"customer_{metric}"
    return f"{object_type}_{metric}"


def body_of(event: dict[str, Any]) -> bytes:
    """JSON as it comes over the wire: UTF-8, with & < > escaped."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    for character in "&<>":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def without_content(event: dict[str, Any]) -> dict[str, Any]:
    """The event as a webhook without `with_content` gets it: no message, no email headers, no changed preferences."""
    if event["metric"] not in ("sent", PREFERENCES_METRIC):
        return event
    data = {name: value for name, value in event["data"].items() if name not in ("content", "headers")}
    return {**event, "data": data}


def ulid(seconds: float) -> str:
    """A new id in the shape of a ULID; `seconds` since the epoch are its first ten characters."""
    number = int(seconds * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Generator:
    """Makes events over all channels: the shapes as documented, with the irregularities that the documents show."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._serial = 0
        self._coming: dict[tuple[str, ...], list[str]] = {}
        self._read: list[dict[str, Any]] = []

    def event(self, now: float, names: Sequence[str] = EVENTS) -> dict[str, Any]:
        """One event with a name of `names`; each of them once, in any order, before one comes again.

        One in ten of the opened and clicked ones is a further one of a message that was opened or clicked already.
        """
        coming = self._coming.setdefault(tuple(names), [])
        if not coming:
            coming.extend(self._random.sample(list(names), len(names)))
        name = coming.pop()
        again = [data for data in self._read if data["name"] == name]
        if again and self._random.random() < 0.1:
            made = self._random.choice(again)["event"]
            return {**made, "event_id": ulid(now), "timestamp": int(now)}
        made = self._made(name, now)
        if name.endswith(("_opened", "_clicked")):
            self._read = [*self._read[-99:], {"name": name, "event": made}]
        return made

    def _made(self, name: str, now: float) -> dict[str, Any]:
        self._serial += 1
        person = self._person()
        if name.startswith("customer_"):
            object_type, metric, data = self._about_a_person(name, person)
        else:
            object_type = next(channel for channel in CHANNELS if name.startswith(f"{channel}_"))
            metric = name.removeprefix(f"{object_type}_")
            data = self._origin(object_type) | person
            for field in FIELDS.get(name, ()):
                data |= self._field(field, object_type)
        return {
            "event_id": ulid(now),
            "object_type": object_type,
            "metric": metric,
            "timestamp": int(now),
            "data": data,
        }

    def _person(self) -> dict[str, Any]:
        number = self._random.randrange(10_000)
        whole = {"id": f"p-{number}", "email": f"p{number}@example.com", "cio_id": f"a1b2{number:08d}"}
        identifiers: dict[str, Any] = self._random.choice(
            [whole, {"id": whole["id"]}, {**whole, "id": None}, {**whole, "email": None}]
        )
        # Deprecated, and blank where the person was deleted.
        customer_id = self._random.choice([{}, {"customer_id": whole["id"]}, {"customer_id": ""}])
        return {**customer_id, "identifiers": identifiers}

    def _about_a_person(self, name: str, person: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        address = self._random.choice(["ana@example.com", None])
        data = {"customer_id": "p-17", **person, "email_address": address}
        object_type = self._random.choice(["customer", "email", "sms", "in_app"])
        if name != PREFERENCES_EVENT:
            return object_type, name.removeprefix("customer_"), data
        content = json.dumps({"topics": {"topic_1": self._random.random() < 0.5}})
        return object_type, PREFERENCES_METRIC, {**data, **self._campaign(), "content": content}

    def _campaign(self) -> dict[str, Any]:
        journey = self._random.choice([ulid(1767225600), self._random.randrange(1, 1000)])  # documented as both
        return {
            "campaign_id": self._random.choice([self._random.randrange(1, 100), None]),
            "action_id": self._random.randrange(1, 1000),
            "parent_action_id": 80,
            "journey_id": journey,
            "trigger_event_id": self._random.choice([ulid(1767225600), None]),
        }

    def _origin(self, channel: str) -> dict[str, Any]:
        number = self._random.randrange(1, 1000)
        broadcast = {"broadcast_id": self._random.choice([9, None]), "trigger_id": number, "action_id": 82}
        newsletter = {"newsletter_id": self._random.choice([number, None]), "content_id": 3}
        origins = [broadcast, newsletter, self._campaign()]
        if channel in ("email", "push"):
            origins.append({"transactional_message_id": number})
        return {**self._random.choice(origins), "delivery_id": f"dlv-{self._serial:08d}-{secrets.token_hex(4)}=="}

    def _field(self, field: str, channel: str) -> dict[str, Any]:
        number = self._random.randrange(1, 1000)
        value: Any
        match field:
            case "recipient":
                recipients = {
                    "email": f"p{number}@example.com",
                    "slack": "#alerts",
                    "webhook": f"https://example.com/called/{number}",
                    "in_app": f"p-{number}",
                }
                value = recipients.get(channel, f"+1555{number:07d}")
            case "recipients":
                devices = [{"device_id": f"dev-{number}", "device_platform": "ios"}, {"device_id": "dev-2"}]
                value = devices[: self._random.randint(1, 2)]
            case "failed_recipients":
                failures = [
                    {"device_id": f"dev-{number}", "device_platform": "ios", "failure_message": "BadDeviceToken"},
                    {"device_id": "dev-2", "device_platform": "android", "failure_message": "NotRegistered"},
                ]
                return {"recipients": failures[: self._random.randint(1, 2)]}
            case "subject":
                subjects = ["Hello", "Grüße aus Köln ☕", "Sale: <b>10 %</b> & more 🎉", "", 'He said "hi"\n']
                value = self._random.choice(subjects)
            case "content":
                value = {"email": "<p>Hi & bye</p>", "push": '{"aps":{"alert":"Hi"}}'}.get(channel, "hi")
            case "headers":
                value = {"X-Demo": ["a", "b"]}
            case "failure_message":
                value = "550 no such user"
            case "href":
                value = f"https://example.com/a?b={number}&c=2"
            case "inbound_event_id":
                value = f"inb-{number}"
            case "to":
                value = "+15550100"
            case "tracked_response":
                value = "ok"
            case "link_id":
                value = number
            case "proxied" | "prefetched" | "synthetic" | "machine":
                value = self._random.random() < 0.5
            case _:
                raise KeyError(field)
        return {field: value}
