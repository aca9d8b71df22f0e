"""What a declaration becomes: the whole program, from a stack's config to what the engine is told.

Proof limit: no engine and no provider run here. That a replacement really is one, and that a secret stays one
in the state, is shown by the engine tests.
"""

import json
from typing import Any

import pulumi
import pytest

from receiver.token import digest, fingerprint, printed

from .conftest import DSN, RECEIVER_URL, Engine, Made, RunProgram, Secret
