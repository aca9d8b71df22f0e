"""Which engine is used, and what is said when there is none. No network, no Go: executables made for the test."""

import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools.engine import build, engine, installer, plugins


def executable(folder: Path, name: str, script: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def environment(tmp_path: Path, *path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "a home"), "PATH": ":".join(str(folder) for folder in path)}


@pytest.fixture
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer.get, "__defaults__", ("http://127.0.0.1:9/install.sh",))


def test_an_installed_engine_is_used_as_it_is(tmp_path: Path) -> None:
    bin = tmp_path / "some bin"
    executable(bin, "pulumi", "echo v3.226.0")
    executable(bin, "pulumi-language-python")
    found = engine.get(environment(tmp_path, bin))
    assert (found.version, found.folder) == ("v3.226.0", None)


def test_the_language_host_may_lie_beside_the_real_pulumi_behind_a_link(tmp_path: Path) -> None:
    executable(tmp_path / "cellar", "pulumi", "echo 3.300.1-dev")
    executable(tmp_path / "cellar", "pulumi-language-python")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").symlink_to(tmp_path / "cellar" / "pulumi")
    assert isinstance(engine.installed(environment(tmp_path, tmp_path / "bin")), engine.Engine)


@pytest.mark.parametrize(
    ("says", "host", "reason"),
    [
        ("echo v3.225.9", True, "is 3.225.9: Sluice needs Pulumi 3.226.0 or newer"),
        ("echo v2.999.0", True, "is 2.999.0"),
        ("echo broken", True, "doesn't tell its version"),
        ("echo v3.300.0; exit 3", True, "doesn't tell its version"),
        ("echo v3.300.0", False, "has no pulumi-language-python"),
    ],
)
def test_an_unusable_engine_is_named_with_the_reason(tmp_path: Path, says: str, host: bool, reason: str) -> None:
    executable(tmp_path / "bin", "pulumi", says)
    if host:
        executable(tmp_path / "bin", "pulumi-language-python")
    refused = engine.installed(environment(tmp_path, tmp_path / "bin"))
    assert isinstance(refused, str)
    assert reason in refused


def test_an_engine_that_is_too_old_is_told_of_when_another_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executable(tmp_path / "bin", "pulumi", "echo v3.100.0")
    env = environment(tmp_path, tmp_path / "bin")
    for name in engine.EXECUTABLES:
        executable(engine.cache(env) / build.folder_name(), name)
    assert engine.get(env).folder is not None
    captured = capsys.readouterr()
    assert "is 3.100.0: Sluice needs Pulumi 3.226.0 or newer" in captured.err
    assert captured.out == ""


def test_a_cached_engine_on_path_does_not_pass_for_an_installed_one(tmp_path: Path) -> None:
    env = environment(tmp_path)
    old = engine.cache(env) / "v3.230.0"
    executable(old, "pulumi", "echo v3.230.0")
    executable(old, "pulumi-language-python")
    assert isinstance(engine.installed({**env, "PATH": str(old)}), str)


@pytest.mark.parametrize("folder_name", [installer.folder_name(), build.folder_name()])
def test_a_cached_engine_is_used_only_when_it_is_whole(tmp_path: Path, folder_name: str) -> None:
    env = environment(tmp_path)
    folder = engine.cache(env) / folder_name
    for name in engine.EXECUTABLES[:-1]:
        executable(folder, name)
    assert engine.cached(engine.cache(env)) is None
    executable(folder, engine.EXECUTABLES[-1])
    assert engine.get(env).folder == folder


@pytest.mark.usefixtures("closed_network")
def test_without_any_way_to_an_engine_all_three_are_named(tmp_path: Path) -> None:
    with pytest.raises(engine.NoEngine) as error:
        engine.get(environment(tmp_path))
    for way in ("no pulumi on PATH", "the official installer can't be reached", "no Go toolchain"):
        assert way in str(error.value)


@pytest.mark.usefixtures("closed_network")
def test_a_closed_network_leads_to_the_build_from_go_modules(tmp_path: Path) -> None:
    """A `go` that notes how it was called stands in for the toolchain."""
    module = tmp_path / "sdk"
    executable(module / "python" / "cmd", "pulumi-language-python-exec")
    (module / "python" / "cmd" / "pulumi-language-python-exec").chmod(0o444)  # as in Go's module cache
    calls = tmp_path / "calls"
    executable(
        tmp_path / "bin",
        "go",
        f'echo "$PWD|$CGO_ENABLED|$GOWORK|$*" >> "{calls}"\n'
        f'if [ "$1" = list ]; then echo "{module}"; exit; fi\n'
        'while [ "$1" != -o ]; do shift; done\n'
        'echo "#!/bin/sh" > "$2/${3##*/}"; chmod +x "$2/${3##*/}"',
    )
    env = environment(tmp_path, tmp_path / "bin", Path("/usr/bin"), Path("/bin"))
    found = engine.get(env)
    assert found.folder == engine.cache(env) / build.folder_name()
    assert found.version == build.cli_version()
    assert stat.S_IMODE((found.folder / "pulumi-language-python-exec").stat().st_mode) == 0o755
    cli, language, _ = calls.read_text().splitlines()
    assert cli.startswith(f"{build.HERE / 'cli'}|0|off|build -mod=readonly")
    assert f"version.Version={build.cli_version()}" in cli
    assert language.startswith(f"{build.HERE / 'language'}|0|off|build -mod=readonly")
    assert [left.name for left in engine.cache(env).iterdir() if left.name.startswith("building-")] == []


@pytest.mark.usefixtures("closed_network")
def test_two_clones_at_once_build_it_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    executable(
        tmp_path / "bin",
        "go",
        f'echo "$1" >> "{calls}"; sleep 0.2\n'
        f'if [ "$1" = list ]; then echo "{tmp_path}"; exit; fi\n'
        'while [ "$1" != -o ]; do shift; done\n'
        'echo "#!/bin/sh" > "$2/${3##*/}"; chmod +x "$2/${3##*/}"',
    )
    executable(tmp_path / "python" / "cmd", "pulumi-language-python-exec")
    env = environment(tmp_path, tmp_path / "bin", Path("/usr/bin"), Path("/bin"))
    with ThreadPoolExecutor(2) as clones:
        first, second = clones.map(engine.get, [env, env])
    assert first == second
    assert calls.read_text().split() == ["build", "build", "list"]


@pytest.mark.usefixtures("closed_network")
def test_a_failed_build_leaves_no_engine_and_tells_what_go_said(tmp_path: Path) -> None:
    executable(tmp_path / "bin", "go", "echo no such proxy; exit 1")
    env = environment(tmp_path, tmp_path / "bin", Path("/usr/bin"), Path("/bin"))
    with pytest.raises(engine.NoEngine, match="no such proxy"):
        engine.get(env)
    assert engine.cached(engine.cache(env)) is None


def test_the_official_installer_gets_the_pinned_version_and_no_path_edit(tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_text(
        '[ "$1 $2 $4" = "--no-edit-path --install-root --version" ] || exit 1\n'
        'mkdir -p "$3/bin"\n'
        f'for name in {" ".join(engine.EXECUTABLES)}; do echo "$5" > "$3/bin/$name"; chmod +x "$3/bin/$name"; done\n'
    )
    env = environment(tmp_path, Path("/usr/bin"), Path("/bin"))
    kept = engine.cache(env)
    kept.mkdir(parents=True)
    installer.get(kept, env, url=script.as_uri())
    found = engine.cached(kept)
    assert found is not None
    assert found.folder == kept / build.cli_version()
    assert "v" + (found.folder / "pulumi").read_text().strip() == build.cli_version()


def test_a_failing_installer_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_text("echo no such platform; exit 1\n")
    with pytest.raises(installer.CannotInstall, match="no such platform"):
        installer.get(tmp_path, environment(tmp_path, Path("/usr/bin"), Path("/bin")), url=script.as_uri())
    assert engine.cached(tmp_path) is None


def test_the_versions_are_those_of_the_go_modules() -> None:
    assert build.folder_name() == f"{build.cli_version()}-python-{build.language_version()}"
    assert build.cli_version().startswith("v3.")
    assert f"{build.SDK} {build.cli_version()} " in (build.HERE / "cli" / "go.mod").read_text()


class TestPlugins:
    def installed(self, tmp_path: Path, folder: str) -> bool:
        executable(tmp_path / "a home" / ".pulumi" / "plugins" / folder, "pulumi-resource-random")
        return plugins.is_installed("random", "4.21.4", environment(tmp_path))

    def test_the_real_plugin_is_preferred_when_it_is_installed(self, tmp_path: Path) -> None:
        assert self.installed(tmp_path, "resource-random-v4.21.4")
        assert plugins.ready("local", environment(tmp_path), tmp_path) == []

    def test_another_version_is_not_the_plugin(self, tmp_path: Path) -> None:
        assert not self.installed(tmp_path, "resource-random-v4.0.0")

    def test_a_half_downloaded_one_is_not_installed(self, tmp_path: Path) -> None:
        (tmp_path / "a home" / ".pulumi" / "plugins").mkdir(parents=True)
        (tmp_path / "a home" / ".pulumi" / "plugins" / "resource-random-v4.21.4.partial").touch()
        assert not self.installed(tmp_path, "resource-random-v4.21.4")

    def test_a_real_one_on_path_counts_and_a_stand_in_does_not(self, tmp_path: Path) -> None:
        executable(tmp_path / "bin", "pulumi-resource-random")
        assert plugins.is_installed("random", "4.21.4", environment(tmp_path, tmp_path / "bin"))
        standin = tmp_path / build.standin_folder("4.0.0")
        executable(standin, "pulumi-resource-random")
        assert not plugins.is_installed("random", "4.21.4", environment(tmp_path, standin))

    CANNOT_DOWNLOAD = 'echo "$*" >> "{tried}"; exit 1'
    GO = 'echo "$PWD|$CGO_ENABLED|$*" >> "{built}"; while [ "$1" != -o ]; do shift; done; cp /bin/sh "$2"'

    def test_where_it_cannot_be_downloaded_a_stand_in_is_built_once_and_serves(self, tmp_path: Path) -> None:
        """A `go` that notes how it was called stands in for the toolchain. The download isn't tried every time."""
        tried, built, kept = tmp_path / "tried", tmp_path / "built", tmp_path / "kept"
        executable(tmp_path / "bin", "pulumi", self.CANNOT_DOWNLOAD.format(tried=tried))
        executable(tmp_path / "bin", "go", self.GO.format(built=built))
        env = environment(tmp_path, tmp_path / "bin", Path("/usr/bin"), Path("/bin"))
        version = plugins.pinned("random")
        for _ in range(2):
            assert plugins.ready("local", env, kept) == [kept / build.standin_folder(version)]
        assert (kept / build.standin_folder(version) / "pulumi-resource-random").stat().st_mode & 0o111
        assert tried.read_text() == f"plugin install resource random {version}\n"
        [call] = built.read_text().splitlines()
        assert call.startswith(f"{build.HERE / 'cli'}|0|build -mod=readonly")
        assert f"-X main.version={version}" in call
        assert [left.name for left in kept.iterdir() if left.name.startswith("building-")] == []

    def test_without_go_the_ways_out_are_named_and_the_next_time_tries_the_download_again(self, tmp_path: Path) -> None:
        tried = tmp_path / "tried"
        executable(tmp_path / "bin", "pulumi", self.CANNOT_DOWNLOAD.format(tried=tried))
        env = environment(tmp_path, tmp_path / "bin")
        version = plugins.pinned("random")
        for _ in range(2):
            with pytest.raises(plugins.NoPlugin) as error:
                plugins.ready("local", env, tmp_path / "kept")
            for way in (f"pulumi plugin install resource random {version}", "--file ARCHIVE", "no Go toolchain"):
                assert way in str(error.value)
        assert len(tried.read_text().splitlines()) == 2

    def test_a_stand_in_of_another_source_is_another_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An older clone's isn't taken for this one's, though they share the cache."""
        before = build.standin_folder("4.21.4")
        shutil.copytree(build.HERE / "cli", tmp_path / "cli")
        monkeypatch.setattr(build, "HERE", tmp_path)
        assert build.standin_folder("4.21.4") == before
        with (tmp_path / "cli" / "random" / "main.go").open("a") as source:
            source.write("// changed\n")
        assert build.standin_folder("4.21.4") != before
