"""The documented fields of Customer.io's deliveries, per channel: what the typed views of a warehouse are made of.

Data and types only, no SQL: each platform renders its own views from it. Fields that Customer.io adds later are in
`payload` all the same; a line here gives them a column. Sources: Customer.io, "Reporting webhooks"
(https://docs.customer.io/api/webhooks), as of 2026-11; the legacy form as captured from "Email Activity Webhook".
"""

from dataclasses import dataclass
from typing import Literal

Type = Literal["text", "bigint", "boolean", "json"]


@dataclass(frozen=True)
class Field:
    """One documented field: where it is in the payload, and its type.

    `text` also takes numbers (Customer.io's own examples mix both for ids), and `bigint` also takes strings of digits
    (the legacy form sends every id as a string), so that one column holds both generations.
    """

    path: tuple[str, ...]
    type: Type

    @property
    def column(self) -> str:
        """The column's name as Stitch spells it: `data.identifiers.email` is `data__identifiers__email`."""
        return "__".join(self.path)


def _data(type: Type, *names: str) -> tuple[Field, ...]:
    return tuple(Field(("data", *name.split(".")), type) for name in names)


PERSON = _data("text", "customer_id", "identifiers.id", "identifiers.email", "identifiers.cio_id")

# What a message came from. A delivery has one origin: broadcast, campaign, newsletter or transactional.
ORIGIN = (
    *_data("text", "delivery_id"),
    *_data("bigint", "campaign_id", "action_id", "parent_action_id"),
    *_data("text", "journey_id", "trigger_event_id"),
    *_data("bigint", "broadcast_id", "trigger_id", "newsletter_id", "content_id", "transactional_message_id"),
)

# In every channel: a subscription event has the object_type of the channel that caused it. `content` is the changed
# preferences there, as JSON text, and the message itself in a `sent` event.
SUBSCRIPTION = _data("text", "email_address", "content")

_RECIPIENT = _data("text", "recipient")
_FAILURE = _data("text", "failure_message")
_LINK = (*_data("text", "href"), *_data("bigint", "link_id"))
_REPLY = _data("text", "inbound_event_id", "to")

# The form before reporting webhooks: `event_type` instead of object_type and metric, for email and customer alone.
_LEGACY_TYPE = (Field(("event_type",), "text"),)
_LEGACY_MESSAGE = (
    *_data("text", "email_id", "message_id", "message_name", "template_id", "campaign_name"),
    *_data("json", "variables"),
)

_EVERY = (*PERSON, *ORIGIN, *SUBSCRIPTION)

# By channel, which is the event's object_type.
CHANNELS: dict[str, tuple[Field, ...]] = {
    "customer": (*_EVERY, *_LEGACY_TYPE),
    "email": (
        *_EVERY,
        *_RECIPIENT,
        *_data("text", "subject"),
        *_data("json", "headers"),
        *_data("boolean", "proxied", "prefetched", "synthetic"),
        *_LINK,
        *_data("boolean", "machine"),
        *_FAILURE,
        *_LEGACY_TYPE,
        *_LEGACY_MESSAGE,
    ),
    "push": (*_EVERY, *_data("json", "recipients"), *_LINK, *_FAILURE),
    "in_app": (*_EVERY, *_RECIPIENT, *_LINK, *_data("text", "tracked_response"), *_FAILURE),
    "slack": (*_EVERY, *_RECIPIENT, *_LINK, *_FAILURE),
    "sms": (*_EVERY, *_RECIPIENT, *_LINK, *_FAILURE, *_REPLY),
    "whatsapp": (*_EVERY, *_RECIPIENT, *_LINK, *_FAILURE, *_REPLY),
    "webhook": (*_EVERY, *_RECIPIENT, *_LINK, *_FAILURE),
}
