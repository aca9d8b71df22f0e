"""A new user's first day: a fresh clone with the dev stack as it is shipped, and nothing but `make`.

`up`, `url`, `send`, `sql`, `status`, `env` and `down` are run by `make` once each, with stdout and stderr kept apart,
as a shell with pipes does. More of them, and what else `make` does, is asked of the same clone in this process.
"""

import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import psycopg
import pytest

from provider import daemons, postgres
from receiver import token
from tests.support import making
from tests.support.postgres import free_port
from tests.support.secrecy import places_of
from tests.support.stack import NOT_CLONED, PROJECT, Stack, attach, event, post, processes_of
from tests.support.waiting import until
from tools.engine import engine

PATIENCE_S = 300
SHIPPED = PROJECT / "Pulumi.dev.yaml"
SAMPLES = 34
NAME = "Stitch Customer.io"
URL = r"http://127\.0\.0\.1:{port}/v1/stitch_customerio/slc_[0-9A-Za-z]{{49}}\n"


@dataclass
class Said:
    """What a command printed, by stream, and its exit code."""

    stdout: str
    stderr: str
    code: int

    @property
    def all(self) -> str:
        return f"{self.stdout}\n{self.stderr}"


def of_a_new_user(outer: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that `make` set for these tests: a shell in which Sluice never ran."""
    foreign = ("PULUMI_", "SLUICE_", "MAKE", "MFLAGS", "PYTEST_")
    ours = (str(PROJECT), str(engine.cache(outer)))
    path = [part for part in outer["PATH"].split(os.pathsep) if not part.startswith(ours)]
    kept = {name: value for name, value in outer.items() if not name.startswith(foreign) and name != "VIRTUAL_ENV"}
    return {**kept, "PATH": os.pathsep.join(path)}


@dataclass
class Clone:
    """A fresh clone with the shipped stack config, of which only the ports are changed; `account` types in it."""

    root: Path
    environment: dict[str, str]
    account: pwd.struct_passwd | None = None
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    @classmethod
    def fresh(cls, root: Path, environment: Mapping[str, str]) -> "Clone":
        """Copies what git would have cloned; the virtual environment is this project's, to save its making."""
        shutil.copytree(PROJECT, root, ignore=NOT_CLONED)
        made = cls(root, dict(environment))
        platform = "  sluice:platform: local\n"
        assert SHIPPED.read_text().count(platform) == 1
        made.config.write_text(
            SHIPPED.read_text().replace(
                platform, f"{platform}  sluice:port: {made.port}\n  sluice:adminPort: {made.admin_port}\n"
            )
        )
        (root / ".venv").symlink_to(PROJECT / ".venv")
        return made

    @property
    def config(self) -> Path:
        return self.root / "Pulumi.dev.yaml"

    def home(self, stack: str = "dev") -> Path:
        return self.root / ".sluice" / stack

    def run(self, *command: str, stdin: str = "") -> Said:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, input=stdin,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
            user=self.account and self.account.pw_uid, group=self.account and self.account.pw_gid,
            extra_groups=[] if self.account else None,
        )  # fmt: skip
        return Said(done.stdout, done.stderr, done.returncode)

    def typed(self, *words: str, stdin: str = "") -> str:
        """The stdout of a `make` as its user types it, which must succeed."""
        said = self.run("make", *words, stdin=stdin)
        assert said.code == 0, said.all
        return said.stdout

    def url(self) -> str:
        return self.typed("url", f"NAME={NAME}").strip()

    def files(self) -> dict[str, str]:
        """What git would see: each file's digest, without what .gitignore names."""
        ignored = {".venv", ".sluice", "__pycache__"}
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.root.rglob("*")
            if path.is_file() and ignored.isdisjoint(path.relative_to(self.root).parts)
        }

    def wait_until_all_have_ended(self) -> None:
        """Every process of the clone; an engine's helpers take a moment to follow it."""
        until(lambda: not processes_of(self.root), 10, "every process of the clone has gone")

    def rows(self) -> int:
        """Not by `make sql`: it takes a second, and this is asked again and again."""
        server = postgres.recorded(self.home())
        assert server is not None
        with psycopg.connect(server.dsn, autocommit=True) as warehouse:
            row = warehouse.execute("SELECT count(*) FROM stitch_customerio.data").fetchone()
        assert row is not None
        return int(row[0])

    def wait_for_rows(self, count: int) -> None:
        until(lambda: self.rows() >= count, 30, f"{count} rows")
        assert self.rows() == count


@dataclass
class FirstDay:
    """A clone that was brought up, and what its first `make up` said.

    `stack`: the same for a `make` in this process, which spares what tests/tools/test_make.py shows.
    """

    clone: Clone
    stack: Stack
    up: Said
    shipped: Mapping[str, str]

    def make(self, target: str, stack: Stack | None = None, /, **variables: str) -> Said:
        made = making.make(stack or self.stack, target, **variables)
        return Said(made.out, made.text.removeprefix(made.out), made.code)

    def made(self, target: str, **variables: str) -> str:
        """The stdout of a `make` in this process, which must succeed."""
        said = self.make(target, **variables)
        assert said.code == 0, said.all
        return said.stdout

    def url(self) -> str:
        return self.made("url", NAME=NAME).strip()

    def row(self) -> dict[str, str]:
        """The integration's row in `make status`."""
        return row_of(self.made("status"), "integration ")


def row_of(table: str, head: str, first: str = NAME) -> dict[str, str]:
    """One row of a printed table by its columns: below the line that starts with `head`, the one of `first`."""
    lines = table.splitlines()
    (top,) = [number for number, line in enumerate(lines) if line.startswith(head)]
    (row,) = [line for line in lines[top + 1 :] if line.startswith(first)]
    columns = [(found.group().strip(), found.start()) for found in re.finditer(r"\S+(?: \S+)*", lines[top])]
    ends = [start for _, start in columns[1:]] + [len(row)]
    return {name: row[start:end].strip() for (name, start), end in zip(columns, ends, strict=True)}


@pytest.fixture(scope="module")
def first_up() -> Iterator[FirstDay]:
    with tempfile.TemporaryDirectory(prefix="sluice first day ") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        clone = Clone.fresh(Path(folder) / "a clone", of_a_new_user(os.environ))
        shipped = clone.files()
        try:
            up = clone.run("make", "up")
            assert up.code == 0, up.all
            # This process looks for an engine on its PATH, where a new user has none.
            with attach(Stack(clone.root, {**clone.environment, "PATH": os.environ["PATH"]})) as stack:
                yield FirstDay(clone, stack, up, shipped)
        finally:
            for name in ("dev", "another"):
                daemons.stop_all(clone.home(name))
            clone.wait_until_all_have_ended()


@pytest.fixture
def day(first_up: FirstDay) -> FirstDay:
    """Brought up again where a test before has left it down."""
    if set(daemons.states(first_up.clone.home()).values()) != {"running"}:
        first_up.made("up")
    return first_up


def test_up_ends_with_a_short_table_and_shows_no_token(day: FirstDay) -> None:
    row = row_of(day.up.stdout, "integration ")
    assert day.up.stdout.rstrip("\n").splitlines()[-1].startswith(NAME)
    secret = day.url().rsplit("/", 1)[1]
    assert row == {
        "integration": NAME,
        "source": "customerio",
        "schema": "stitch_customerio",
        "slot": "primary",
        "token": token.fingerprint(token.digest(secret)),
        "endpoint": f"127.0.0.1:{day.clone.port}",
        "state": "live",
        "webhook": "by hand",
    }
    said = {"stdout": day.up.stdout.encode(), "stderr": day.up.stderr.encode()}
    assert places_of(secret, said) == []
    assert day.clone.files() == day.shipped, "the tree is as clean as before, the shipped config included"


def test_url_prints_the_secret_url_and_only_it(day: FirstDay) -> None:
    assert re.fullmatch(URL.format(port=day.clone.port), day.clone.typed("url", f"NAME={NAME}", "SLOT=primary"))
    wrong = day.make("url", NAME=NAME, SLOT="secondary")
    assert (wrong.code, wrong.stdout) == (1, "")
    assert "it has primary" in wrong.stderr


def test_send_has_the_samples_taken_and_again_makes_no_doubles(day: FirstDay) -> None:
    before = day.clone.rows()
    assert day.clone.typed("send") == f"taken: {SAMPLES}, not taken: 0\n"
    assert day.made("send") == f"taken: {SAMPLES}, not taken: 0\n"
    until(lambda: day.row()["waiting"] == "0", 30, "all is loaded")
    day.clone.wait_for_rows(before + SAMPLES)


def test_send_takes_a_file_of_ones_own(day: FirstDay, tmp_path: Path) -> None:
    before = day.clone.rows()
    own = tmp_path / "my own.jsonl"
    own.write_bytes(event("mine-1") + b"\n\n" + event("mine-2"))
    assert day.made("send", FILE=str(own)) == "taken: 2, not taken: 0\n"
    day.clone.wait_for_rows(before + 2)
    own.write_bytes(event("mine-3") + b"\nnot JSON\n")
    partly = day.make("send", FILE=str(own))
    assert (partly.code, partly.stdout) == (1, "taken: 2 (rows: 1, rejects: 1), not taken: 0\n")
    missing = day.make("send", FILE=f"{own}.not")
    assert missing.code != 0
    assert f"there is no file {own}.not" in missing.stderr


def test_sql_prints_bare_rows_and_without_a_query_is_a_psql(day: FirstDay) -> None:
    assert day.made("sql", SQL="SELECT 1, NULL, 'it''s $a b' UNION ALL SELECT 2, 'x', '' ORDER BY 1") == (
        "1||it's $a b\n2|x|\n"
    )
    wrong = day.make("sql", SQL="SELECT nothing")
    assert wrong.code != 0
    assert wrong.stdout == ""
    assert 'column "nothing" does not exist' in wrong.stderr
    typed = day.clone.typed("sql", stdin="SELECT 6 * 7 AS answer;\n\\q\n")
    assert re.search(r"answer.*42", typed, re.DOTALL)


def test_a_bump_is_previewed_as_replacements_and_an_up_moves_to_a_new_url_with_all_rows(day: FirstDay) -> None:
    old = day.url()
    assert post(old, event("before-the-bump")) == 200
    before = day.clone.config.read_text()
    day.clone.config.write_text(before.replace("tokens: {primary: 1}", "tokens: {primary: 2}"))
    assert day.clone.config.read_text() != before
    bumped = day.clone.files()

    preview = day.made("preview")
    replaced = {line.split()[2] for line in preview.splitlines() if line.strip().startswith("+- ")}
    assert replaced == {"stitch_customerio-token-primary", "stitch_customerio-endpoint-primary"}
    assert "+-2 to replace" in preview
    assert day.url() == old, "a preview changes nothing"
    until(lambda: day.row()["waiting"] == "0", 30, "all is loaded")
    rows = day.clone.rows()

    row = row_of(day.made("up"), "integration ")
    new = day.url()
    assert row["token"] == token.fingerprint(token.digest(new.rsplit("/", 1)[1]))
    assert day.clone.files() == bumped
    assert post(old, event("by-the-old-url")) == 401
    assert post(new, event("by-the-new-url")) == 200
    day.clone.wait_for_rows(rows + 1)


def test_status_counts_what_came_and_where_it_is(day: FirstDay) -> None:
    before = day.row()
    assert post(day.url(), b"not JSON") == 200
    assert post(day.url(), event("to be counted")) == 200
    until(lambda: day.row()["waiting"] == "0", 30, "all is loaded")
    row = row_of(day.clone.typed("status"), "integration ")
    assert (row["schema"], row["slot"], row["endpoint"]) == ("stitch_customerio", "primary", "live")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["last event"])
    more = {name: int(row[name]) - int(before[name]) for name in ("accepted", "loaded", "rejected")}
    assert more == {"accepted": 2, "loaded": int(before["waiting"]) + 1, "rejected": 1}


def test_status_says_where_the_status_page_is_and_there_it_is(day: FirstDay) -> None:
    address = f"http://127.0.0.1:{day.clone.admin_port}/"
    assert f"status page: {address}\n" in day.made("status")
    with urllib.request.urlopen(address, timeout=30) as page:
        shown = page.read().decode()
    assert NAME in shown
    assert "all is well" in shown
    assert day.url().rsplit("/", 1)[1] not in shown


def test_env_makes_plain_pulumi_and_drivers_work_in_a_shell_of_ones_own(day: FirstDay) -> None:
    count = (
        "import os, psycopg; there = psycopg.connect(os.environ['SLUICE_WAREHOUSE_DSN']);"
        " print(*there.execute('SELECT count(*) FROM stitch_customerio.data').fetchone())"
    )
    said = day.clone.run(
        *["sh", "-e", "-c"],
        'eval "$(make -s env)"; pulumi preview --non-interactive; printf "\\f"; pulumi stack output --json;'
        f' printf "\\f"; python -c "{count}"',
    )
    assert said.code == 0, said.all
    preview, outputs, counted = said.stdout.split("\f")
    assert re.search(r"\d+ unchanged", preview)
    assert not re.search(r"to (create|update|replace|delete)", preview)
    assert json.loads(outputs)["integrations"]["stitch_customerio"]["slots"]["primary"]["url"] == "[secret]"
    assert counted == f"{day.clone.rows()}\n"


def test_logs_shows_each_log_and_no_secret(day: FirstDay) -> None:
    shown = day.made("logs")
    for name in ("receiver", "loader"):
        assert f".sluice/dev/{name}.log:" in shown
    assert '"event": "serving", "port": ' in shown
    assert places_of(day.url().rsplit("/", 1)[1], {"logs": shown.encode()}) == []


def test_refresh_finds_everything_as_it_was(day: FirstDay) -> None:
    shown = day.made("refresh")
    assert re.search(r"\d+ unchanged", shown)
    assert not re.search(r"\d+ (updated|deleted|created)", shown)


def test_stop_stops_both_status_says_so_and_up_goes_on_where_it_was(day: FirstDay) -> None:
    url, rows = day.url(), day.clone.rows()
    assert day.made("stop") == "stopped: receiver\nstopped: postgres\n"
    day.clone.wait_until_all_have_ended()
    status = day.make("status")
    assert status.code != 0
    assert "PostgreSQL is down: run make up" in status.stdout
    assert "the receiver is down, nothing is taken: run make up" in status.stdout
    day.made("up")
    assert day.url() == url
    assert day.clone.rows() == rows


def another(day: FirstDay, phrase: str | None) -> tuple[Stack, int]:
    """A second stack, declared as its user does, dev's with other ports and no salt, and its port."""
    clone, port = day.clone, free_port()
    lines = [line for line in clone.config.read_text().splitlines() if not line.startswith("encryptionsalt")]
    text = "\n".join(lines).replace(str(clone.port), str(port)).replace(str(clone.admin_port), str(free_port()))
    (clone.root / "Pulumi.another.yaml").write_text(f"{text}\n")
    own = {"STACK": "another"} | ({} if phrase is None else {"PULUMI_CONFIG_PASSPHRASE": phrase})
    return replace(day.stack, environment={**day.stack.environment, **own}), port


@pytest.mark.parametrize("phrase", [None, "sluice-dev"], ids=["none", "dev's, which everybody knows"])
def test_another_stack_needs_a_passphrase_of_its_own(day: FirstDay, phrase: str | None) -> None:
    refused = day.make("up", another(day, phrase)[0])
    assert refused.code != 0
    assert "missing passphrase" in refused.stderr
    assert "PULUMI_CONFIG_PASSPHRASE" in refused.stderr
    assert "Traceback" not in refused.all
    assert not day.clone.home("another").exists()


def test_another_stack_is_chosen_everywhere_and_touches_nothing_of_dev(day: FirstDay) -> None:
    stack, port = another(day, "a phrase of one's own")
    url, rows = day.url(), day.clone.rows()

    def made(target: str, **variables: str) -> str:
        said = day.make(target, stack, **variables)
        assert said.code == 0, said.all
        return said.stdout

    assert row_of(made("up"), "integration ")["endpoint"] == f"127.0.0.1:{port}"
    assert re.fullmatch(URL.format(port=port), made("url", NAME=NAME))
    assert made("send") == f"taken: {SAMPLES}, not taken: 0\n"
    assert row_of(made("status"), "integration ")["accepted"] == str(SAMPLES)
    assert ".sluice/another/receiver.log:" in made("logs")
    assert "will drop schema stitch_customerio" in made("down")
    assert not [line for line in processes_of(day.clone.root) if str(day.clone.home("another")) in line]
    assert day.url() == url
    assert post(url, event("dev-goes-on")) == 200
    day.clone.wait_for_rows(rows + 1)


def test_down_lists_what_it_drops_and_leaves_no_process(day: FirstDay) -> None:
    url, server = day.url(), postgres.recorded(day.clone.home())
    assert processes_of(day.clone.root), "else nothing is shown at the end"
    assert server is not None
    assert server.data.exists()
    down = day.clone.typed("down")
    assert down.startswith(f"will drop schema stitch_customerio ({NAME}) with all its data\n")
    day.clone.wait_until_all_have_ended()
    assert post(url, event("too late")) == 0
    assert not server.data.exists()
    assert "run make up" in day.make("status").stderr
    day.made("down")  # once more is no mistake


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can work as another account, and close a folder to PostgreSQL's")


@pytest.mark.nightly
def test_a_clone_below_a_folder_that_only_root_may_enter_works(as_root: None) -> None:
    with tempfile.TemporaryDirectory(prefix="sluice closed ") as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        clone = Clone.fresh(Path(folder) / "a clone", of_a_new_user(os.environ))
        try:
            first_event(clone)
            server = postgres.recorded(clone.home())
            assert server is not None
            assert not server.data.is_relative_to(folder)
            assert server.data.is_relative_to(postgres.ROOTS_PLACE)
            clone.typed("down")
            clone.wait_until_all_have_ended()
            assert not server.data.exists()
        finally:
            daemons.stop_all(clone.home())


@pytest.mark.nightly
def test_an_ordinary_user_has_the_same_first_hour(as_root: None) -> None:
    account = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="sluice ordinary ") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the account must pass
        clone = Clone.fresh(Path(folder) / "a clone", of_a_new_user(os.environ))
        python = python_for(account)
        virtual_environment(clone.root, python)
        clone.environment = of_an_ordinary_user(Path(folder) / "home", account, python, clone.environment)
        for path in Path(folder).rglob("*"):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        clone.account = account
        try:
            first_event(clone)
            server = postgres.recorded(clone.home())
            assert server is not None
            assert server.data.is_relative_to(clone.home())
            assert server.data.stat().st_uid == account.pw_uid
            clone.typed("down")
            clone.wait_until_all_have_ended()
        finally:
            clone.run("make", "stop")


def first_event(clone: Clone) -> None:
    assert row_of(clone.typed("up"), "integration ")["state"] == "live"
    assert post(clone.url(), event("the-first")) == 200
    clone.wait_for_rows(1)


def python_for(account: pwd.struct_passwd) -> Path:
    """A Python of this one's version that the account can run, as root's own may lie below a closed home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [Path(sys.executable).resolve(), *(Path(place) / f"python{version}" for place in SYSTEM_PATH)]
    for python in candidates:
        try:
            done = subprocess.run(
                [python, "-c", "import psycopg"], env={"PYTHONPATH": PACKAGES}, cwd="/", capture_output=True,
                user=account.pw_uid, group=account.pw_gid, extra_groups=[],
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip(
        f"{account.pw_name} can run no Python {version} with the packages in {PACKAGES}; tried "
        + ", ".join(map(str, candidates))
    )


PACKAGES = str(Path(psutil.__file__).parent.parent)
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


def virtual_environment(root: Path, python: Path) -> None:
    """Gives the clone an environment of its own on that Python, which borrows this project's packages."""
    folder = root / ".venv"
    folder.unlink()
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(f"{PACKAGES}\n")
    mark = json.loads((PROJECT / ".venv" / "sluice.json").read_text())
    (folder / "sluice.json").write_text(json.dumps({**mark, "place": str(folder.resolve())}))


def of_an_ordinary_user(
    home: Path, account: pwd.struct_passwd, python: Path, outer: Mapping[str, str]
) -> dict[str, str]:
    """An environment that holds nothing of root's: a home, and an installed engine, a copy of the one in use here."""
    tools = home / "pulumi"
    tools.mkdir(parents=True)
    for name in engine.EXECUTABLES:
        found = shutil.which(name)
        assert found
        shutil.copyfile(os.path.realpath(found), tools / name)
        (tools / name).chmod(0o755)
    cache = home / ".cache" / "sluice" / "engine"
    cache.mkdir(parents=True)
    for failed in engine.cache(outer).glob("*.failed"):  # a plugin that can't be downloaded here needs no second try
        shutil.copy2(failed, cache / failed.name)
    path = os.pathsep.join([str(tools), str(python.parent), *SYSTEM_PATH])
    own = {"HOME": str(home), "PULUMI_HOME": str(home / ".pulumi")}  # Pulumi asks passwd for a home; this one has none
    return {**own, "USER": account.pw_name, "PATH": path, "LANG": "C.UTF-8"}
