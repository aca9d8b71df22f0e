"""The passphrase that a stack's secrets are encrypted with, and the one that protects nothing."""

import os
from pathlib import Path

DEV_PASSPHRASE = "sluice-dev"  # noqa: S105 (public on purpose: it guards nothing but a stack to play with)


def of_stack(stack: str) -> str | None:
    """What the program's environment says; None where the stack uses no passphrase, or it can't be seen from here."""
    try:
        settings = Path(f"Pulumi.{stack}.yaml").read_text()
    except OSError:
        return None
    return os.environ.get("PULUMI_CONFIG_PASSPHRASE") if "encryptionsalt:" in settings else None
