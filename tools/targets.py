"""What each `make` target does. Runs in the virtual environment; `tools/bootstrap.py` starts it.

What a target was given comes in SLUICE_STACK, SLUICE_NAME, SLUICE_SLOT, SLUICE_FILE, SLUICE_SQL, SLUICE_REASON,
SLUICE_SINCE, SLUICE_UNTIL, SLUICE_DRY, SLUICE_POLICY, SLUICE_TIER and SLUICE_ARGS (see the Makefile).
"""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from components.customerio.signing import waiting_for_key
from provider import postgres
from provider.resource import ResourceError
from receiver import control, token
from tools import checks, deliveries, endpoints, environment, places, policy, progress
from tools import replay as replaying
from tools import stack as stacks
from tools.endpoints import Endpoint
from tools.engine import engine, plugins
from tools.place import Counts, Place, Resources
from tools.stack import Stack, StackError
from tools.table import table

ROOT = Path(__file__).resolve().parent.parent

ERRORS = (
    StackError,
    environment.MissingPassphrase,
    engine.NoEngine,
    plugins.NoPlugin,
    endpoints.NoSuchEndpoint,
    deliveries.EndpointDown,
    control.ControlError,
    progress.StepFailed,
    checks.UnknownTier,
    ResourceError,
    OSError,
)
"""What a person can do something about: shown as it is, without a traceback."""


def given(name: str) -> str:
    return os.environ.get(f"SLUICE_{name}", "")


def prepared() -> Stack:
    """The stack that was asked for, with the engine and the plugins it needs at hand."""
    name = given("STACK") or environment.DEV
    found = engine.get(os.environ)
    settings = stacks.settings(ROOT, name)
    outer = dict(os.environ)
    backend = environment.backend_of(stacks.short(name), stacks.project(ROOT), outer)
    phrase = environment.passphrase(stacks.short(name), settings, outer, backend=backend)
    if phrase is not None:
        outer[environment.PASSPHRASE] = phrase
    environment.make_backend(ROOT)
    without = environment.variables(ROOT, outer, engine=found.folder)
    platform = stacks.platform(ROOT, name)
    standins = plugins.ready(platform, without, engine.cache(outer))
    if platform == "aws":
        from tools import function_library  # it needs Pulumi's SDK, which takes half a second

        function_library.ready(ROOT, stacks.config(ROOT, name), engine.cache(outer))
    standins += policy.folders(ROOT, found)
    variables = environment.variables(ROOT, outer, engine=found.folder, standins=standins, backend=backend)
    stack = Stack(ROOT, name, variables)
    stack.mend()
    return stack


def existing() -> Stack:
    """As `prepared`, for what makes no sense before the first `up`."""
    stack = prepared()
    if not stack.exists():
        raise stack.missing()
    return stack


def _unasked(stack: Stack, policies: Sequence[str] = ()) -> list[str]:
    """The dev stack is changed without a question; another one asks, as Pulumi does, where there is a terminal.

    Its preview is made in any case: what is protected is only refused there. An `up` that skips it deletes what isn't
    protected, and fails after that. What a policy says of the whole stack is in time in the preview alone, too.
    """
    if stack.name != environment.DEV:
        return [] if stacks.is_interactive() else ["--yes"]
    previews = policies or stacks.platform(stack.root, stack.name) == "aws"
    return ["--yes"] if previews else ["--yes", "--skip-preview"]


def _policies(stack: Stack) -> list[str]:
    return policy.arguments(ROOT, stack.name, stack.environment, asked=given("POLICY") == "1")


def up() -> int:
    stack = prepared()
    place = places.of(stack)
    stack.select(create=True)
    place.check()
    stack.recover(place.forget)
    policies = _policies(stack)
    code = stack.run("up", *_unasked(stack, policies), *policies, "--suppress-outputs")
    if code == 0:
        for line in place.revoke_strays(stack.resources()):
            print(line)
        made = endpoints.of(stack.outputs())
        states = place.states(made)
        rows = [(e.name, e.source, e.schema, e.slot, e.fingerprint, e.host, states[e.hash], _webhook(e)) for e in made]
        print()
        print(table(["integration", "source", "schema", "slot", "token", "endpoint", "state", "webhook"], rows))
    return code


def preview() -> int:
    stack = prepared()
    place = places.of(stack)
    stack.select(create=True)
    place.check()
    if stack.team_backend is None:  # in a team's an interrupted `up` is reported by the engine
        stack.recover(place.forget)
    code = stack.run("preview", *_policies(stack))
    _name_strays(stack, place)
    return code


def _name_strays(stack: Stack, place: Place) -> None:
    for line in place.strays(stack.resources()):
        print(line)


def review() -> int:
    from tools.review import page, run

    stack = prepared()
    if not stack.exists():
        stack.select(create=True)
    found = run.of(stack, given("BASE"))
    if given("FORMAT") == "markdown":
        print(page.markdown(found), end="")
    else:
        print(page.terminal(found, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")), end="")
    if found.errors:
        return 1
    return 2 if found.alarms and given("STRICT") not in ("", "0") else 0


def refresh() -> int:
    stack = existing()
    place = places.of(stack)
    stack.recover(place.forget)
    code = stack.run("refresh", *_unasked(stack), "--suppress-outputs")
    _name_strays(stack, place)
    return code


def down() -> int:
    stack = prepared()
    place = places.of(stack)
    if stack.exists():
        stack.recover(place.forget)
        resources = stack.resources()
        if protected := [resource for resource in resources if resource.get("protect")]:
            names = ", ".join(sorted(str(resource["urn"]).rsplit("::", 1)[-1] for resource in protected))
            raise StackError(
                f"nothing was destroyed, as these are protected: {names}\n"
                f"To end them too, set sluice:protect to false and run make up{stack.option} first"
            )
        for line in place.loss(resources):
            print(line, flush=True)
        code = stack.run("destroy", *_unasked(stack), "--suppress-outputs")
        if code != 0:
            return code
        for line in place.revoke_strays(stack.resources()):
            print(line)
    elif stack.team_backend is not None:
        raise stack.missing()
    # A daemon that the state didn't know of, after a state file was lost, say, goes as well.
    for stopped in place.stop_all():
        print(f"stopped: {stopped}")
    return 0


def stop() -> int:
    stack = Stack(ROOT, given("STACK") or environment.DEV, os.environ)
    stopped = places.of(stack).stop_all()
    print("\n".join(f"stopped: {what}" for what in stopped) or "nothing was running")
    return 0


def status() -> int:
    stack = existing()
    resources = stack.resources()
    made = endpoints.of(stack.outputs())
    if not made:
        raise StackError(f"stack {stack.name} has no integration: run make up{stack.option}")
    place = places.of(stack)
    found = place.status(made, resources)

    head = ["integration", "schema", "slot", "token", "endpoint", "last used", "webhook"]
    rows = []
    shown: set[str] = set()
    for endpoint in made:
        row = [endpoint.name, endpoint.schema, endpoint.slot, endpoint.fingerprint, found.states[endpoint.hash]]
        row += [_when(found.last_used[endpoint.hash]), _webhook(endpoint)]
        if found.counts is not None:
            row += _counts(found.counts.get(endpoint.schema), again=endpoint.schema in shown)
        shown.add(endpoint.schema)
        rows.append(row)
    if found.counts is not None:
        head += ["last event", "accepted", "loaded", "rejected", "waiting"]
    print(table(head, rows))

    problems = list(found.problems)
    problems += [waiting_for_key(e.schema, stack.name) for e in made if e.active and e.webhook.startswith("waiting")]
    busy = stack.busy()
    pending: list[str] = []
    if busy:
        found.notes.append(f"another pulumi is at work on this stack right now: {busy}")
    else:
        problems += place.strays(resources)
        pending = [*_pending(resources), *stack.pending()]
    if not (busy or pending) and (failed := stack.failed()):
        pending = [f"the last {failed} failed, and what it left to do isn't done"]
    problems += [f"{what}: run make up{stack.option}" for what in pending]
    for line in [*problems, *found.notes]:
        print(line)
    return 1 if problems else 0


def _webhook(endpoint: Endpoint) -> str:
    return endpoint.webhook if endpoint.active else "-"  # the sender posts to the active slot


def _pending(resources: Resources) -> list[str]:
    """What an `up` that failed midway has replaced and not yet deleted, from the stack's state."""
    pending = []
    for resource in resources:
        if not resource.get("delete"):
            continue
        name = resource["urn"].rsplit("::", 1)[-1]
        if old := endpoints.recorded(resource):
            pending.append(
                f"the old {old.slot} URL of {old.schema}, {token.fingerprint(old.hash)}, still works, since the "
                "sender may not have been moved from it yet"
            )
        else:
            pending.append(f"{name} was replaced but is not deleted yet")
    return pending


def _counts(counts: Counts | None, *, again: bool) -> list[str]:
    """The cells of `make status` after the endpoint's: counted by schema, so only its first line has them."""
    if again:
        return [""] * 5
    if counts is None:
        return ["-"] * 5
    numbers = (str(number) for number in (counts.accepted, counts.loaded, counts.rejected, counts.waiting))
    return [_when(counts.last_event_at), *numbers]


def _when(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else "-"


def url() -> int:
    print(_chosen(existing()).url)
    return 0


def _chosen(stack: Stack) -> Endpoint:
    return endpoints.chosen(endpoints.of(stack.outputs()), given("NAME"), given("SLOT") or "primary")


def send() -> int:
    stack = existing()
    endpoint = _chosen(stack)
    if given("FILE"):
        files = [Path(given("FILE")).expanduser()]
    else:
        files = sorted((ROOT / "samples").glob(f"{endpoint.source}_*.jsonl"))
    for file in files:
        if not file.is_file():
            raise StackError(f"there is no file {file}")
    answers = deliveries.send(endpoint.url, deliveries.bodies(files), stack.credential(endpoint.schema, "signing_key"))
    taken, others = answers.statuses.pop(200, 0), answers.statuses
    rejected = f" (rows: {taken - answers.rejected}, rejects: {answers.rejected})" if answers.rejected else ""
    print(f"taken: {taken}{rejected}, not taken: {others.total()}{_by_status(others)}")
    return 1 if others or answers.rejected else 0


def _by_status(answers: Counter[int]) -> str:
    listed = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
    return f" ({listed})" if listed else ""


def sql() -> int:
    stack = existing()
    return places.of(stack).query(given("SQL"), stack.outputs())


def replay() -> int:
    stack = existing()
    asked = replaying.wanted(given("REASON"), given("SINCE"), given("UNTIL"))
    outputs = stack.outputs()
    made = endpoints.of(outputs)
    if given("NAME") or not made:
        made = [endpoints.chosen(made, given("NAME"), "primary")]
    schemas = list(dict.fromkeys(endpoint.schema for endpoint in made))
    return places.of(stack).replay(schemas, asked, outputs, dry=given("DRY") not in ("", "0"))


def trial() -> int:
    name = given("STACK") or environment.DEV
    if stacks.platform(ROOT, name) != "aws":
        raise StackError(
            f"make trial is for a stack on AWS, and {name} is on this machine: make send and make sql show it"
        )
    stack = existing()
    from tools import aws_trial  # with AWS's SDK, a third of a second

    return aws_trial.main(stack, _chosen(stack), shlex.split(given("ARGS")))


def env() -> int:
    stack = prepared()
    values = dict(stack.environment)
    if os.environ.get(environment.PASSPHRASE):
        values.pop(environment.PASSPHRASE)  # the shell has it already, and it may be a real one
    if stack.exists():
        stack.select()
        dsn = (stack.outputs().get("warehouse") or {}).get("dsn")
        if dsn:
            values["SLUICE_WAREHOUSE_DSN"] = dsn
    print(environment.export_lines(values))
    return 0


def logs() -> int:
    name = given("STACK") or environment.DEV
    # Where the logs of a stack on AWS are, its state knows; those on this machine are there without an engine.
    stack = existing() if stacks.platform(ROOT, name) == "aws" else Stack(ROOT, name, os.environ)
    for name, lines in places.of(stack).logs().items():
        print(f"{name}:\n{lines}\n")
    return 0


def lint() -> int:
    return checks.lint()


def test() -> int:
    return checks.test(given("TIER"), shlex.split(given("ARGS")))


def test_all() -> int:
    return checks.test(given("TIER"), shlex.split(given("ARGS")), nightly=True)


def coverage() -> int:
    return checks.coverage(given("TIER"), shlex.split(given("ARGS")))


TARGETS: dict[str, Callable[[], int]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        up,
        preview,
        review,
        refresh,
        down,
        stop,
        status,
        url,
        send,
        sql,
        replay,
        trial,
        env,
        logs,
        lint,
        test,
        test_all,
        coverage,
    )
}


def main(arguments: list[str]) -> int:
    """Runs the target that is named first; its exit code is the result."""
    postgres.forget_psqls_settings()
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        progress.say(f"sluice: a target is one of {', '.join(TARGETS)}")
        return 2
    try:
        return TARGETS[arguments[0]]()
    except BrokenPipeError:  # the reader of stdout has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ERRORS as error:
        progress.say(f"sluice: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
