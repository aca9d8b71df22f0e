"""What a policy isn't given by the engine, and is written down nonetheless: the stack's file and the engine's state.

A policy sees the resources that the program declares. It doesn't see what goes because it isn't declared any more, nor
when a resource was made; both are in the state. The stack's settings it reads from Pulumi.<stack>.yaml, in which
secrets are encrypted.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from policy.rules import Recorded

ROOT = Path(__file__).resolve().parent.parent
EXPORT_TIMEOUT_S = 120


class NoState(Exception):
    """The engine doesn't tell what is in its state; the text says why."""


@cache
def settings(stack: str, root: Path = ROOT) -> Mapping[str, Any]:
    """The config in Pulumi.<stack>.yaml, by full key; {} where there is none."""
    try:
        found = yaml.safe_load((root / f"Pulumi.{stack}.yaml").read_text())
    except FileNotFoundError:
        return {}
    config = found.get("config") if isinstance(found, dict) else None
    return config if isinstance(config, dict) else {}


def is_set(stack: str, key: str, *, default: bool) -> bool:
    """A setting that is true or false, which in a stack's file may be a text as well."""
    value = settings(stack).get(f"sluice:{key}", default)
    return str(value).lower() == "true" if isinstance(value, bool | str) else default


@cache
def state(stack: str) -> tuple[Recorded, ...]:
    """The resources in the state as the update found it, asked once. Raises NoState.

    Without the secrets: an export has them encrypted. Without those that only wait to be deleted.
    """
    try:
        asked = subprocess.run(
            ["pulumi", "stack", "export", "--stack", qualified(stack, os.environ), "--non-interactive"],
            cwd=ROOT,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EXPORT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise NoState(f"pulumi stack export took longer than {EXPORT_TIMEOUT_S} s: try again") from None
    if asked.returncode != 0:
        raise NoState(f"pulumi stack export failed: {asked.stderr.strip()}")
    return recorded(json.loads(asked.stdout))


def qualified(stack: str, variables: Mapping[str, str]) -> str:
    """The stack by its whole name, as the engine tells it to a pack: a person's default may be another organisation."""
    parts = [variables.get(f"PULUMI_{part}") for part in ("ORGANIZATION", "PROJECT")]
    return "/".join([*map(str, parts), stack]) if all(parts) else stack


def recorded(export: Mapping[str, Any]) -> tuple[Recorded, ...]:
    """The resources of an exported state."""
    return tuple(
        Recorded(
            urn=resource["urn"],
            type=resource["type"],
            inputs=resource.get("inputs") or {},
            outputs=resource.get("outputs") or {},
            made=datetime.fromisoformat(resource["created"]) if resource.get("created") else None,
            is_kept=bool(resource.get("retainOnDelete")),
        )
        for resource in (export.get("deployment") or {}).get("resources") or []
        if not resource.get("delete")
    )
