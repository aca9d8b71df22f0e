"""The events that a Customer.io reporting webhook can be told to send.

Source: Customer.io App API, OpenAPI document of 2026-09-17 (docs.customer.io/files/journeys-app.json), the
`events` enum of POST /v1/reporting_webhooks, in the vendor's order. The list grows: add names here as they
appear there. It limits what may be declared, never what is received: the receiver takes any event.

Where the vendor's pages disagree: `email_deferred`, `sms_dropped`, `slack_converted` and `webhook_converted` are here
and have no documented payload; `customer_subscription_preferences_changed` arrives with the metric
`cio_subscription_preferences_changed`; and DOCUMENTED_ONLY has payloads without being here.
"""

EVENTS: tuple[str, ...] = tuple(
    f"{channel}_{metric}"
    for channel, metrics in (
        ("customer", "subscribed unsubscribed subscription_preferences_changed"),
        (
            "email",
            "drafted attempted sent delivered opened clicked converted bounced dropped deferred spammed "
            "failed unsubscribed undeliverable",
        ),
        ("in_app", "drafted attempted sent opened clicked converted failed undeliverable"),
        (
            "push",
            "drafted attempted sent delivered opened clicked converted bounced dropped failed undeliverable",
        ),
        ("slack", "drafted attempted sent clicked converted failed"),
        (
            "sms",
            "drafted attempted sent delivered clicked converted bounced dropped failed undeliverable replied",
        ),
        (
            "whatsapp",
            "drafted attempted sent delivered opened clicked converted bounced dropped failed undeliverable replied",
        ),
        ("webhook", "drafted attempted sent clicked converted failed undeliverable"),
    )
    for metric in metrics.split()
)

DOCUMENTED_ONLY: frozenset[str] = frozenset({"slack_undeliverable"})
"""Events with a documented payload that the API has no name for: they can't be asked for."""
