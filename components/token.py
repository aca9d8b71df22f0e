"""One token slot's secret: 43 random letters and digits (256 bits), its printed form, and what may be shown.

`RandomPassword` is the one resource of pulumi-random whose secret isn't its id as well: the ids of
RandomBytes, RandomId and RandomString are the value, in clear, in the state. The keepers hold the version
alone, because any other change to them would rotate every token.
"""

import pulumi
import pulumi_random
from pulumi import Output

from receiver.token import digest, fingerprint, printed


class Token:
    """The token of one slot at one version.

    `printed` is secret: what the sender is given. `hash` (SHA-256 of the printed form, hex) and `fingerprint`
    (its first 12 digits) are not: nobody finds 256 random bits from them, so previews and status show them.
    """

    printed: Output[str]
    hash: Output[str]
    fingerprint: Output[str]

    def __init__(self, name: str, *, version: int, parent: pulumi.Resource) -> None:
        password = pulumi_random.RandomPassword(
            name,
            length=43,
            special=False,
            keepers={"version": str(version)},
            opts=pulumi.ResourceOptions(parent=parent),
        )
        secret: Output[str] = Output.secret(password.result)
        self.version = version
        self.printed = secret.apply(printed)
        # In a rotation's preview the new secret isn't there yet, and these two are then unknown, not secret.
        self.hash = Output.unsecret(self.printed.apply(digest))
        self.fingerprint = self.hash.apply(fingerprint)
