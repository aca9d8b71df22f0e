"""The names on AWS that aren't left to Pulumi, since others must be able to foresee them. Pure.

Everything else is named by Pulumi (logical name and seven random digits), so that two stacks share an account without a
clash, and a replacement can be made before what it replaces is deleted.
"""

from hashlib import sha256

ERRORS = "errors/"
QUERY_RESULTS = "query-results/"


def stack_id(project: str, stack: str) -> str:
    """Six hex digits that tell a stack's streams and parameters from those of another stack of the account."""
    return sha256(f"{project}/{stack}".encode()).hexdigest()[:6]


def stream(stack_id: str, schema: str) -> str:
    """A delivery stream's name; at most 63 of the 64 characters that Firehose takes, for a schema of 49.

    The function may write to those of its stack by one pattern: listed one by one in its role, whose policies have
    10,240 characters, there would be room for about a hundred.
    """
    return f"sluice-{stack_id}-{schema}"


def signing_keys(stack_id: str, schema: str) -> str:
    """The SSM parameter that holds the keys which an integration's deliveries are signed with."""
    return f"/sluice/{stack_id}/{schema}/signing-keys"


def tables(database: str) -> str:
    """The folder of a database's tables in the stack's bucket: two databases never share one, nor its files."""
    return f"tables/{database}/"


def errors(schema: str) -> str:
    """The folder of what Firehose couldn't deliver."""
    return f"{ERRORS}{schema}/"
