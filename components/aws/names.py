"""The names on AWS that aren't left to Pulumi, since others must be able to foresee them. Pure.

Everything else is named by Pulumi (logical name and seven random digits), so that two stacks share an account without a
clash, and a replacement can be made before what it replaces is deleted.
"""

import re
from hashlib import sha256

ERRORS = "errors/"
OVERSIZED = "oversized/"  # the function writes there: receiver/aws
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


def dashboard(project: str, stack: str) -> str:
    """The dashboard's name. A stack may have a dot in its own, where CloudWatch takes a-z, A-Z, 0-9, - and _ only.

    With the id, since a second dashboard of one name would take the first one's place without a word.
    """
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', f'{project}-{stack}')}-{stack_id(project, stack)}"


def tables(schema: str) -> str:
    """The folder of an integration's tables in the stack's bucket."""
    return f"tables/{schema}/"


def errors(schema: str) -> str:
    """The folder of what Firehose couldn't deliver."""
    return f"{ERRORS}{schema}/"
