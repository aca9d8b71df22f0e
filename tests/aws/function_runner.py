"""Runs the function's code as Lambda's runtime does: one instance, one request at a time.

Started with -I -S: nothing can be imported but the standard library, the zip's folder, and what Lambda brings. Commands
come as JSON, one a line on stdin, and the answers go to a file descriptor of their own: stdout is the function's log.

    function_runner.py <folder of the zip> <folder of Lambda's libraries> <descriptor> <options as JSON>
"""

import importlib
import json
import logging
import os
import sys
import time
from typing import Any

folder, libraries, descriptor, text = sys.argv[1:]
options: dict[str, Any] = json.loads(text)
sys.path[:0] = [folder, libraries]

real_time, real_time_ns = time.time, time.time_ns
moved = 0.0  # the wall clock alone, as after a pause in which the instance was frozen
time.time = lambda: real_time() + moved
time.time_ns = lambda: real_time_ns() + int(moved * 1e9)

logging.basicConfig(level=logging.DEBUG)  # the most that a function's log level can be set to
for constant, value in options.get("constants", {}).items():
    place, _, constant = constant.rpartition(".")
    assert hasattr(importlib.import_module(place), constant)
    setattr(sys.modules[place], constant, value)
started = time.perf_counter()
module, _, name = options["handler"].rpartition(".")
handle = getattr(importlib.import_module(module), name)
seconds = time.perf_counter() - started
if options.get("talkative"):
    for library in ("botocore", "urllib3"):
        logging.getLogger(library).setLevel(logging.DEBUG)

with os.fdopen(int(descriptor), "w") as answers:

    def say(**facts: Any) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    say(started=seconds)
    for line in sys.stdin:
        command = json.loads(line)
        if "clock" in command:
            moved += command["clock"]
            say(moved=moved)
        elif "modules" in command:
            files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
            say(modules=[file for file in files if file])
        else:
            try:
                say(answer=handle(command["request"], None))
            except BaseException as error:  # Lambda would answer 502
                say(raised=repr(error))
