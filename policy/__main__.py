"""Serves the pack to the engine, which starts this folder with Python and reads a port from stdout."""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the engine starts it by path

from policy.pack import POLICIES

PolicyPack(name="sluice", policies=POLICIES)
