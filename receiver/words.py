"""What the facts about a stack are called: on the status page, in the metrics' names, on AWS's dashboard and alarms.

One word a fact wherever it is read: whoever has learnt it on one platform reads it on the other. Pure.
"""

ACCEPTED = "accepted"
"""Deliveries answered 200: each is stored."""

LOADED = "loaded"
"""Those whose rows the warehouse has."""

REJECTED = "rejected"
"""Those of them that are no event: rows of _sdc_rejected, with the reason."""

REFUSED = "refused"
"""Deliveries answered 401: their token isn't a live one, or they are signed wrongly."""

LOADER_LAG = "loader lag"
"""How long the oldest event that waits for the warehouse has been waiting."""

LAST_EVENT = "last event"
LAST_USED = "last used"
WAITING = "waiting"


def silence(name: str, hours: int, allowed: int) -> str:
    """What is said of an integration that has been without an event for longer than its owner allows."""
    return f"no event of {name} for {hours} hours, and its maxSilenceHours is {allowed}"


def stray(slot: str, schema: str, fingerprint: str) -> str:
    """What is said of a live URL that the stack's state knows nothing of."""
    return (
        f"the {slot} URL of {schema}, {fingerprint}, is live, and the stack's state doesn't know it: make up revokes it"
    )
