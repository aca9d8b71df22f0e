"""What a change of an endpoint means for whoever posts to it, said before it is made.

On one machine the resource `Endpoint` says it. On AWS an endpoint is a DynamoDB item of the AWS plugin's, which knows
of no sender; there the resource `Sender` stands beside it, of which nothing exists but what it says.
"""

from typing import ClassVar

from components.customerio.signing import how_to_store_key
from provider.resource import Context, Properties, Resource, ResourceError


class Sender(Resource):
    """Inputs: schema, slot, hash (of the endpoint's token), active (the sender is given this slot's URL), connected (by
    Sluice, not by a person), signed, hasSigningKeys. Outputs: the same. Id: <schema>/<slot>.
    """

    token = "sluice:index:Sender"  # noqa: S105
    replaces: ClassVar = frozenset({"schema", "slot"})

    async def remark(self, context: Context, state: Properties, inputs: Properties) -> None:
        is_in_use = state["connected"] and state["active"]
        if _is_locked(inputs) and not _is_locked(state) and is_in_use:
            raise would_be_locked_out(context, inputs)
        await say_what_changes(context, state, inputs)

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return f"{inputs['schema']}/{inputs['slot']}", inputs

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        return inputs

    async def read(self, context: Context, state: Properties) -> Properties | None:
        return state

    async def delete(self, context: Context, state: Properties) -> None:
        """Nothing exists outside of the state."""


def _is_locked(properties: Properties) -> bool:
    """Whether no delivery can get in: it must be signed, and no key is known."""
    return bool(properties["signed"] and not properties["hasSigningKeys"])


def would_be_locked_out(context: Context, inputs: Properties) -> ResourceError:
    """For a sender whose deliveries must be signed from now on, with a key that isn't known."""
    return ResourceError(
        f"{inputs['schema']} receives events by its {inputs['slot']} URL, and its signing key is missing\n"
        "With `signed: true` each would be refused until the key is known, so the URL stays as it is. "
        f"{how_to_store_key(inputs['schema'], context.stack)}\nand run `up` again"
    )


async def say_what_changes(context: Context, state: Properties, inputs: Properties) -> None:
    """Warns where the URL that a sender posts to is replaced, and Sluice can't move the sender."""
    if state["hash"] != inputs["hash"] and state.get("active", inputs.get("active")):
        if not inputs.get("connected"):
            await context.say(_to_paste(inputs["schema"], inputs["slot"]), True)
        elif not state.get("connected"):
            await context.say(_to_connect_first(inputs["schema"]), True)


def _to_paste(schema: str, slot: str) -> str:
    other = "secondary" if slot == "primary" else "primary"
    return (
        f"somebody must paste the new URL at the sender of {schema}\n"
        f"This replaces the {slot} URL, which it posts to, and Sluice can't move it (`connect: false`). Until then the "
        "old URL answers 401, and Customer.io waits an hour after that, with every later event held back behind the "
        f"refused one. To do it without a gap, use both slots: declare the other one ({other}: 1) and run `up`, paste "
        f"its URL (make url SLOT={other}), say `active: {other}` and run `up`, and bump {slot} after that. Or let "
        "Sluice move the sender: `connect: true`"
    )


def _to_connect_first(schema: str) -> str:
    return (
        f"{schema} is connected and given a new URL in one `up`: better connect first, and rotate in the next\n"
        "A webhook that was made by hand is known by its URL alone. With another one it stays as it is, beside the new "
        "webhook, and is refused (401) once the old URL has gone"
    )
