"""The engine's environment: what `make` runs it with and `make -s env` prints."""

import subprocess
from pathlib import Path

import pytest

from tools import environment
from tools.engine import build

ROOT = Path('/home/me/my $HOME\'s "clone"')
ENGINE = Path("/home/me/.cache/sluice/engine/v1 x")
STANDIN = ENGINE.with_name(f"{build.STANDIN}-4.21.4-0123456789ab")


def made(outer: dict[str, str], **more: object) -> dict[str, str]:
    return environment.variables(ROOT, outer, engine=ENGINE, **more)  # type: ignore[arg-type]


def test_the_engine_comes_first_on_path_then_stand_ins_then_the_environment_of_the_project() -> None:
    path = made({"PATH": "/usr/bin:/bin"}, standins=[STANDIN])["PATH"]
    assert path.split(":") == [str(ENGINE), str(STANDIN), f"{ROOT}/.venv/bin", "/usr/bin", "/bin"]


def test_it_is_the_same_when_it_is_made_in_a_shell_that_has_it() -> None:
    once = made({"PATH": "/usr/bin"})
    assert made(once) == once


def test_a_stand_in_of_before_leaves_path_when_the_real_plugin_has_come() -> None:
    with_standin = made({"PATH": "/usr/bin"}, standins=[STANDIN])
    assert str(STANDIN) not in made(with_standin)["PATH"]


def test_no_plugin_is_downloaded_by_itself() -> None:
    assert made({})["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"


@pytest.mark.parametrize("proxy", ["https_proxy", "HTTPS_PROXY", "http_proxy", "grpc_proxy"])
@pytest.mark.parametrize("given", [{}, {"no_proxy": "corp.example"}, {"NO_PROXY": "corp.example, localhost"}])
def test_behind_a_proxy_this_machine_is_reached_without_it(proxy: str, given: dict[str, str]) -> None:
    found = made({proxy: "http://proxy.example:3128", **given})
    for name in ("no_proxy", "NO_PROXY"):
        hosts = found[name].split(",")
        assert {"127.0.0.1", "localhost", "::1"} <= set(hosts)
        assert ("corp.example" in hosts) == bool(given)
        assert len(hosts) == len(set(hosts))
    assert made(found) == found


def test_grpcs_own_list_is_completed_where_there_is_one() -> None:
    found = made({"https_proxy": "http://proxy.example:3128", "no_grpc_proxy": "corp.example"})
    assert found["no_grpc_proxy"] == "corp.example,127.0.0.1,localhost,::1"


def test_without_a_proxy_nothing_is_said_of_one() -> None:
    assert {"no_proxy", "NO_PROXY"}.isdisjoint(made({}))


def test_the_backend_is_a_url_whatever_the_folder_is_called() -> None:
    assert environment.backend_url(Path("/a b/#1/50%/é")) == "file:///a%20b/%231/50%25/%C3%A9/.sluice"


def test_the_folder_of_the_states_is_its_owners_alone(tmp_path: Path) -> None:
    environment.make_backend(tmp_path)
    assert (tmp_path / ".sluice" / ".pulumi").stat().st_mode & 0o777 == 0o700


def test_a_shell_reads_back_exactly_what_was_exported() -> None:
    values = made({"PATH": "/usr/bin"}) | {"SLUICE_WAREHOUSE_DSN": "postgresql://u:p'w$(id)@h/d?a=b c"}
    script = environment.export_lines(values) + '\nprintf "%s\\0" "$PATH" "$VIRTUAL_ENV" "$SLUICE_WAREHOUSE_DSN"'
    read = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")
    assert read[:3] == [values["PATH"], values["VIRTUAL_ENV"], values["SLUICE_WAREHOUSE_DSN"]]


def test_only_what_pulumi_and_the_warehouse_need_is_exported() -> None:
    lines = environment.export_lines(made({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"})).splitlines()
    names = [line.removeprefix("export ").split("=")[0] for line in lines]
    assert names == [name for name in environment.EXPORTED if name in names]
    assert "AWS_SECRET_ACCESS_KEY" not in names


class TestPassphrase:
    def test_dev_has_a_default(self) -> None:
        assert environment.passphrase("dev", {}, {}) == "sluice-dev"

    def test_one_from_the_environment_is_kept_for_dev(self) -> None:
        assert environment.passphrase("dev", {}, {"PULUMI_CONFIG_PASSPHRASE": "mine"}) is None

    @pytest.mark.parametrize(
        "outer", [{}, {"PULUMI_CONFIG_PASSPHRASE": ""}, {"PULUMI_CONFIG_PASSPHRASE": "sluice-dev"}]
    )
    def test_any_other_stack_has_none_and_refuses_the_default(self, outer: dict[str, str]) -> None:
        with pytest.raises(environment.MissingPassphrase, match="a missing passphrase"):
            environment.passphrase("prod", {}, outer)

    @pytest.mark.parametrize(
        ("settings", "outer"),
        [
            ({}, {"PULUMI_CONFIG_PASSPHRASE": "its own"}),
            ({}, {"PULUMI_CONFIG_PASSPHRASE_FILE": "/run/secrets/x"}),
            ({"secretsprovider": "awskms://alias/x"}, {}),
        ],
    )
    def test_another_stack_may_bring_its_own_way(self, settings: dict[str, object], outer: dict[str, str]) -> None:
        assert environment.passphrase("prod", settings, outer) is None

    @pytest.mark.parametrize("backend", ["https://api.pulumi.com", "https://pulumi.example.com"])
    def test_pulumi_cloud_keeps_secrets_by_itself(self, backend: str) -> None:
        assert environment.passphrase("prod", {}, {"PULUMI_CONFIG_PASSPHRASE": ""}, backend=backend) is None
        with pytest.raises(environment.MissingPassphrase):
            environment.passphrase("prod", {"encryptionsalt": "v1:…"}, {}, backend=backend)

    @pytest.mark.parametrize("backend", [None, "s3://bucket", "gs://bucket", "azblob://box", "file:///srv/state"])
    def test_a_backend_that_only_keeps_files_needs_one(self, backend: str | None) -> None:
        with pytest.raises(environment.MissingPassphrase):
            environment.passphrase("prod", {}, {}, backend=backend)


class TestBackend:
    """Where a stack's state is: PULUMI_BACKEND_URL, then what it was before dev's, then Pulumi.yaml, then here."""

    ELSEWHERE = (
        "s3://acme-state?region=eu-west-1&awssdk=v2",
        "gs://acme-state",
        "azblob://state",
        "https://api.pulumi.com",
        "http://pulumi.internal:8080",
        "file:///srv/state",
        "file://~",
        "file://./state",
    )
    MAKES = (
        "file:///home/me/my%20clone/.sluice",
        "file:///home/me/my clone/.sluice",
        "file:///another/clone/.sluice/",
        "file:///home/me/clone/.sluice/state?no_tmp_dir=true",
    )

    @pytest.mark.parametrize("url", ELSEWHERE)
    def test_one_elsewhere_is_kept_for_every_stack_but_dev(self, url: str) -> None:
        outer = {"PULUMI_BACKEND_URL": url}
        assert environment.backend_of("prod", {}, outer) == url
        assert environment.backend_of("dev", {"backend": {"url": url}}, outer) is None
        assert made(outer, backend=url)["PULUMI_BACKEND_URL"] == url

    @pytest.mark.parametrize("url", [*MAKES, "", " "])
    def test_what_make_itself_printed_says_nothing(self, url: str) -> None:
        outer = {"PULUMI_BACKEND_URL": url}
        assert environment.backend_of("prod", {}, outer) is None
        assert environment.backend_of("prod", {"backend": {"url": "s3://acme"}}, outer) == "s3://acme"

    def test_the_environment_comes_before_pulumi_yaml(self) -> None:
        project = {"backend": {"url": "s3://written"}}
        assert environment.backend_of("prod", project, {"PULUMI_BACKEND_URL": "s3://given"}) == "s3://given"
        assert environment.backend_of("prod", project, {}) == "s3://written"
        assert environment.backend_of("prod", {"backend": None}, {}) is None
        assert environment.backend_of("prod", {"backend": "s3://no-mapping"}, {}) is None

    def test_a_shell_that_got_devs_has_not_forgotten_the_teams(self) -> None:
        """Otherwise `make up STACK=prod` would go on, in that shell, with an empty state of this folder."""
        shell = made({"PULUMI_BACKEND_URL": "s3://acme"})
        assert shell["PULUMI_BACKEND_URL"] == environment.backend_url(ROOT)
        assert environment.backend_of("prod", {}, shell) == "s3://acme"
        assert made(shell) == shell
        prod = made(shell, backend="s3://acme")
        assert prod["PULUMI_BACKEND_URL"] == "s3://acme"
        assert made(prod, backend="s3://acme") == prod
        assert made(prod)["PULUMI_BACKEND_URL"] == environment.backend_url(ROOT)

    def test_a_backend_is_shown_without_what_may_be_a_key(self) -> None:
        assert environment.shown("s3://bucket/a%20b?region=eu-west-1&sig=abc") == "s3://bucket/a b"
        assert environment.shown("https://user:key@pulumi.example.com:8443/x") == "https://pulumi.example.com:8443/x"
        assert environment.shown("file:///srv/the%20state") == "file:///srv/the state"
