"""How the key that Customer.io signs deliveries with gets into the config: a person copies it.

Customer.io's API never returns it (App API, OpenAPI document of 2026-09-17); the page where the webhook is shows it. So
a signed webhook is made disabled, and enabled once the key is stored.
"""


def how_to_store_key(schema: str, stack: str) -> str:
    """Where the signing key is, and the command that stores it: it asks for the key, or reads it from a pipe."""
    return (
        "Customer.io shows it at Data & Integrations > Integrations > Reporting Webhooks. Store it with (in a shell "
        'without Pulumi, eval "$(make -s env)" comes first)\n'
        f"  pulumi config set --stack {stack} --secret --path 'sluice:credentials.{schema}.signing_key'"
    )


def waiting_for_key(schema: str, stack: str) -> str:
    """What is left to do for a signed webhook whose signing key isn't in the config yet."""
    return (
        f"the webhook of {schema} is disabled until its signing key is known\n{how_to_store_key(schema, stack)}\n"
        "and run `up` again, which enables it"
    )


def new_webhook_has_its_own_key(schema: str, stack: str) -> str:
    """What to look at when a webhook was made anew while a signing key is stored already."""
    return (
        f"the webhook of {schema} is a new one, and its signing key may be another than the one that is stored: then "
        f"every delivery is refused, and waits\nCompare it. {how_to_store_key(schema, stack)}\nand run `up` again"
    )
