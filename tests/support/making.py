"""`make` in the test process: what a target does, without a `make`, a shell and a Python started for it.

A target costs what its own `pulumi` commands cost. Where the stack is attached, the program and the provider of an
`up`, a `preview` and a `review` are in this process as well, and what a test replaces in `tools` counts.

Proof limit: the Makefile, tools/bootstrap.py and the start of `python -m tools.targets` are not used. `Stack.make` uses
them, and tests/tools/test_make.py.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO
from unittest.mock import patch

from tests.support.stack import PROJECT, Ran, Stack
from tools import stack as stacks
from tools import targets

VARIABLES = frozenset(re.findall(r"^export SLUICE_(\w+)", (PROJECT / "Makefile").read_text(), re.MULTILINE))
"""What may stand on the command line of `make`."""


@dataclass
class Made(Ran):
    """`text`: both streams; `out`: stdout alone. `code`: the target's own, where `make` says 2 for any but 0."""

    out: str = ""


def make(stack: Stack, target: str, **variables: str) -> Made:
    """`make target NAME=value` in the stack's clone. A relative FILE is one of this process's working folder."""
    assert variables.keys() <= VARIABLES, f"make knows {', '.join(sorted(VARIABLES))}"
    stack._outputs = None  # asked for again after it
    environment = {**stack.environment, **{f"SLUICE_{name}": variables.get(name, "") for name in VARIABLES}}
    environment["SLUICE_STACK"] = variables.get("STACK") or stack.environment.get("STACK", "dev")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with (
            patch.object(targets, "ROOT", stack.root),
            patch.object(stacks, "pulumi", lambda *words: ["pulumi", *words, *stack.where_the_program_is(words[0])]),
            patch.object(os, "execve", _run_in_its_place),
            patch.dict(os.environ, environment, clear=True),
            _written_to(out, "stdout", 1),
            _written_to(err, "stderr", 2),
        ):
            code = _code(target)
        said = _text(out)
        made = Made(said + _text(err), code, said)
    stack.said.append(made.text)
    return made


def _code(target: str) -> int:
    try:
        return targets.main([target])
    except SystemExit as ended:
        return int(ended.code or 0)


def _run_in_its_place(program: str, command: list[str], environment: Mapping[str, str]) -> None:
    """`os.execve` for a target that ends as another program, such as `psql`: this process has more to do."""
    raise SystemExit(subprocess.run(command, executable=program, env=environment, stdin=subprocess.DEVNULL).returncode)


@contextlib.contextmanager
def _written_to(file: IO[bytes], name: str, descriptor: int) -> Iterator[None]:
    """While inside, the stream is `file`: for this process, and for what it starts."""
    getattr(sys, name).flush()
    before = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        with os.fdopen(os.dup(descriptor), "w", buffering=1) as stream, patch.object(sys, name, stream):
            yield
    finally:
        os.dup2(before, descriptor)
        os.close(before)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
