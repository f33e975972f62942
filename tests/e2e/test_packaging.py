"""What is published, as who installs it has it: built, put into an environment outside the checkout, and used."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from micro.context import CORE_SERVICES
from micro.testing.platform import Platform, alive, until
from micro.testing.servers import redis_server
from micro.testing.servers.etcd import etcd_server
from micro.testing.servers.nats import nats_server
from micro.testing.servers.postgres import postgres_server
from micro.testing.servers.s3 import BUCKET, KEY, SECRET, s3_server

__all__ = ["etcd_server", "nats_server", "postgres_server", "redis_server", "s3_server"]
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("packaging")]
ROOT = Path(__file__).parents[2]
UNREACHED = re.compile(
    r"failed to fetch|dns error|connection (refused|reset)|timed out|no solution found", re.IGNORECASE
)
WHERE = """
from dataclasses import dataclass

import micro
from micro import Service


@dataclass
class Request:
    pass


@dataclass
class Response:
    file: str


class Where:
    async def call(self, request: Request) -> Response:
        return Response(file=micro.__file__)


Service("where", handlers=[Where()]).run()
"""
PROFILE = """
[profile.shared]
extends = "local"

[profile.shared.store]
plugin = "redis"
url = "${REDIS_URL}"
"""


class Installed(Platform):
    """A platform of the installed wheels, in the environment of somebody who has no checkout."""

    @property
    def env(self):
        kept = {name: value for name, value in super().env.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {"PATH": f"{Path(self.launcher).parent}{os.pathsep}{outside()}"}


def outside():
    """Give the search path without the checkout's environment."""
    return os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if not Path(each).is_relative_to(ROOT))


def ran(*argv, cwd, **env):
    """Run a program; gives what it said, all told when it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MICRO_", "PYTHON"))}
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=kept | env,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


DOCS = ROOT / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build both wheels and install them; the path has a space, as people's have."""
    folder = tmp_path_factory.mktemp("installed")
    wheels, environment = folder / "wheels", folder / "an environment"
    done = subprocess.run(
        [ROOT / "scripts" / "package", wheels, environment], capture_output=True, text=True, timeout=110, check=False
    )
    if done.returncode != 0 and UNREACHED.search(done.stderr) is None:
        pytest.fail(f"scripts/package failed:\n{done.stdout}{done.stderr}", pytrace=False)
    if done.returncode != 0:
        about = f"no package registry was reached:\n{done.stdout}{done.stderr}"
        if os.environ.get("MICRO_REQUIRE_SERVERS") == "1":
            pytest.fail(about, pytrace=False)
        pytest.skip(about)
    return SimpleNamespace(
        folder=folder, wheels=wheels, environment=environment, micro=environment / "bin" / "micro",
        python=environment / "bin" / "python",
    )  # fmt: skip


@pytest.fixture
def start(installed, tmp_path):
    """Start platforms of the installation; all are ended."""
    started = []

    def start(*args, **env):
        server = Installed(tmp_path, micro=installed.micro)
        started.append(server)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            return server.start(*args)

    yield start
    for server in started:
        server.end()


def opened(wheels, distribution):
    """Give a wheel's files with their text's bytes, and its metadata."""
    (path,) = wheels.glob(f"{distribution}-*.whl")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (about,) = (text for name, text in files.items() if name.endswith(".dist-info/METADATA"))
    return files, email.message_from_bytes(about)


PLUGINS = [
    (
        f"micro_plugin_{folder.name.replace('-', '_')}",
        f"micro_{folder.name.replace('-', '_')}",
        f"plugins/{folder.name}",
    )
    for folder in sorted((ROOT / "plugins").iterdir())
]


@pytest.mark.parametrize(
    ("distribution", "package", "source"),
    [("micro_core", "micro", "micro-core"), *PLUGINS],
)
def test_a_wheel_holds_the_package_its_types_and_its_licence_and_no_tests(installed, distribution, package, source):
    files, about = opened(installed.wheels, distribution)
    inside = {name for name in files if name.startswith(f"{package}/")}
    tracked = {
        str(path.relative_to(ROOT / source / "src"))
        for path in (ROOT / source / "src").rglob("*")
        if path.is_file() and not {"__pycache__", ".hypothesis"} & set(path.parts)
    }
    assert inside == tracked
    assert f"{package}/py.typed" in inside
    info = {name.partition("/")[0] for name in set(files) - inside}
    assert {re.sub(r"-[\d.]+\.", " ", folder) for folder in info} <= {
        f"{distribution} dist-info",
        f"{distribution} data",
    }
    assert not [name for name in files if re.search(r"(^|/)(tests?/|test_|conftest)|\.pyc$", name)]
    licences = [text for name, text in files.items() if "/licenses/" in name]
    assert licences == [(ROOT / "LICENSE").read_bytes()]
    assert (about["License-Expression"], about["Requires-Python"]) == ("MIT", ">=3.11")
    assert list(installed.wheels.glob(f"{distribution}-*.tar.gz"))


def test_the_launcher_in_the_wheel_is_ours(installed):
    files, _ = opened(installed.wheels, "micro_core")
    (script,) = (text for name, text in files.items() if name.endswith(".data/scripts/micro"))
    assert script == (ROOT / "micro-core" / "bin" / "micro").read_bytes() == installed.micro.read_bytes()
    assert os.access(installed.micro, os.X_OK)


def test_the_launcher_is_found_however_it_is_called(installed, tmp_path):
    version = ran(installed.micro, "--version", cwd=tmp_path)
    assert re.fullmatch(r"micro version \d+\.\d+\.\d+\n", version)
    # pipx and uv link to it from a folder of the PATH; people link to such a link
    bin, links = tmp_path / "bin", tmp_path / "my links"
    bin.mkdir()
    links.mkdir()
    (bin / "micro").symlink_to(installed.micro)
    (links / "m").symlink_to("../bin/micro")
    ways = [
        ((bin / "micro",), tmp_path, outside()),
        ((links / "m",), tmp_path, outside()),
        (("./m",), links, outside()),
        (("bin/micro",), installed.environment, outside()),
        (("micro",), tmp_path, f"{bin}:{outside()}"),
        (("micro",), installed.micro.parent, f".:{outside()}"),
        (("sh", "micro"), installed.micro.parent, outside()),
        ((installed.python, "-m", "micro"), tmp_path, outside()),
        ((installed.python, installed.micro), tmp_path, outside()),
    ]
    for argv, cwd, path in ways:
        assert ran(*argv, "--version", cwd=cwd, PATH=path) == version, argv
        # a command that needs more than the launcher's own modules
        assert ran(*argv, "env", cwd=cwd, PATH=path, HOME=str(tmp_path)).startswith("* local"), argv


def test_an_installation_without_an_interpreter_beside_it_finds_one_of_its_version(installed, tmp_path):
    """What `pip install --user` and `--prefix` leave; the first `python3` of the PATH may be another version's."""
    version = f"python3.{sys.version_info.minor}"
    (tmp_path / "user" / "bin").mkdir(parents=True)
    shutil.copy(installed.micro, tmp_path / "user" / "bin" / "micro")
    (tmp_path / "user" / "lib").symlink_to(installed.environment / "lib")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / version).symlink_to(sys._base_executable)
    (tmp_path / "path" / "python3").symlink_to("/bin/false")
    path = f"{tmp_path / 'user' / 'bin'}:{tmp_path / 'path'}:/usr/bin:/bin"
    assert ran("micro", "--version", cwd=tmp_path, PATH=path).startswith("micro version ")
    assert ran("micro", "env", cwd=tmp_path, PATH=path, HOME=str(tmp_path)).startswith("* local")


def test_nothing_comes_from_the_checkout(installed, tmp_path):
    told = (
        "import micro, micro_store_redis, sys; print(micro.__file__, micro_store_redis.__file__, *sys.path, sep='\\n')"
    )
    micro, plugin, *path = ran(installed.python, "-c", told, cwd=tmp_path).splitlines()
    assert Path(micro).is_relative_to(installed.environment)
    assert Path(plugin).is_relative_to(installed.environment)
    assert not [folder for folder in path if folder and Path(folder).is_relative_to(ROOT)]


def test_plugins_are_found_by_their_entry_points(installed, tmp_path):
    rows = [line.split("\t") for line in ran(installed.micro, "plugins", cwd=tmp_path).splitlines()]
    found = {(kind, name): (distribution, about) for kind, name, distribution, _, about in rows}
    assert found["store", "redis"][0] == "micro-plugin-store-redis"
    assert "conditions" in found["store", "redis"][1]
    assert {found["store", name][0] for name in ("memory", "remote", "sqlite")} == {"micro-core"}
    assert not [about for _, about in found.values() if about.startswith("broken")]


def test_the_installed_platform_runs_services(installed, start, tmp_path):
    server = start()
    pids = server.pids()
    assert sorted(pids) == sorted(CORE_SERVICES)
    assert len({server.process.pid, *pids.values()}) == 11
    assert all(alive(pid) for pid in pids.values())
    assert not [name for name, pid in pids.items() if str(ROOT) in Path(f"/proc/{pid}/maps").read_text()]

    shutil.copytree(
        ROOT / "examples" / "helloworld", tmp_path / "helloworld", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "where").mkdir()
    (tmp_path / "where" / "main.py").write_text(WHERE)
    for name in ("helloworld", "where"):
        server.micro("run", str(tmp_path / name))
    for name in ("helloworld", "where"):
        until(lambda name=name: " running " in server.micro("status", name), what=f"{name} running")
    assert json.loads(server.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
    assert Path(json.loads(server.micro("where", "call"))["file"]).is_relative_to(installed.environment)
    assert {"helloworld", "where", "store"} <= set(server.micro("services").split())
    assert server.stop() == 0


def test_a_profile_puts_the_store_on_redis(installed, start, redis_server, tmp_path):
    config = tmp_path / "micro.toml"
    config.write_text(PROFILE)
    url = f"redis://127.0.0.1:{redis_server.port}/0"
    argv = ("--config", str(config), "--profile", "shared")
    server = start(*argv, REDIS_URL=url)
    server.micro("store", "write", "greeting", "hello from the wheel")
    server.micro("config", "set", "shop.motd", "welcome")
    assert server.stop() == 0
    kept = subprocess.run(
        [installed.python, "-c", "import redis, sys; print(*redis.from_url(sys.argv[1]).keys('*'), sep='\\n')", url],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    assert "greeting" in kept
    assert not (server.data / "store.db").exists()
    # all that the platform knew was in Redis, not in its own memory
    again = start(*argv, REDIS_URL=url)
    assert again.micro("store", "read", "greeting") == "hello from the wheel\n"
    assert again.micro("config", "get", "shop.motd") == "welcome\n"


def tables(*named):
    """Write a profile that changes no more than these primitives of `local`."""
    lines = ["[profile.shared]", 'extends = "local"']
    for primitive, settings in named:
        lines.append(f"[profile.shared.{primitive}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(lines)


def on_postgres(request):
    return tables(("store", {"plugin": "postgres", "url": request.getfixturevalue("postgres_server").url}))


def on_s3(request):
    where = request.getfixturevalue("s3_server")
    given = {"endpoint": where.url, "access_key": KEY, "secret_key": SECRET, "bucket": BUCKET}
    return tables(("blobs", {"plugin": "s3", **given}))


def on_nats(request):
    url = f"nats://127.0.0.1:{request.getfixturevalue('nats_server').port}"
    return tables(("broker", {"plugin": "nats", "url": url}), ("events", {"plugin": "nats", "url": url}))


def on_etcd(request):
    url = f"http://127.0.0.1:{request.getfixturevalue('etcd_server').port}"
    return tables(("registry", {"plugin": "etcd", "endpoints": [url]}))


@pytest.mark.parametrize(
    ("plugin", "profile"),
    [("store_postgres", on_postgres), ("blobs_s3", on_s3), ("broker_nats", on_nats), ("registry_etcd", on_etcd)],
)
def test_one_wheel_and_a_line_of_the_profile_put_the_same_service_on_another_backend(
    installed, plugin, profile, request, tmp_path
):
    environment = tmp_path / "own"
    ran(ROOT / ".venv" / "bin" / "uv", "venv", "--quiet", "--python", sys.executable, environment, cwd=tmp_path)
    wheels = [next(installed.wheels.glob(f"{name}-*.whl")) for name in ("micro_core", f"micro_plugin_{plugin}")]
    pins = ROOT / "requirements" / "dev.txt"
    how = ("--quiet", "--python", environment / "bin" / "python", "-c", pins)
    ran(ROOT / ".venv" / "bin" / "uv", "pip", "install", *how, *wheels, cwd=tmp_path)
    config = tmp_path / "micro.toml"
    config.write_text(profile(request))
    server = Installed(tmp_path / "server", micro=environment / "bin" / "micro", extra=["--config", str(config)])
    server.profile = "shared"
    try:
        server.start()
        server.run(ROOT / "examples" / "helloworld")
        assert json.loads(server.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
        server.micro("store", "write", "greeting", plugin)
        assert server.micro("store", "read", "greeting") == f"{plugin}\n"
        server.micro("events", "publish", plugin, plugin)
        assert server.micro("events", "read", plugin) == f"{plugin}\n"
        server.micro("blob", "put", plugin, str(config))
        assert server.micro("blob", "get", plugin) == config.read_text()
        assert server.stop() == 0
    finally:
        server.end()


def told_by_the_docs(folder):
    """Write the files that the page of plugins gives: what its reader has after ten minutes."""
    files = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert {Path(name).suffix for name, _ in files} == {".py", ".toml"}
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_plugin_written_as_the_docs_tell_passes_its_suite_and_serves(installed, start, tmp_path):
    plugin = told_by_the_docs(tmp_path / "a plugin")
    assert not plugin.is_relative_to(ROOT)
    uv, pins = ROOT / ".venv" / "bin" / "uv", ROOT / "requirements" / "dev.txt"
    how = ("--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable)
    ran(uv, "build", *how, "--out-dir", tmp_path, plugin, cwd=tmp_path)
    (wheel,) = tmp_path.glob("micro_plugin_store_shelf-*.whl")
    (core,) = installed.wheels.glob("micro_core-*.whl")
    asked = (f"micro-core[testing] @ {core.as_uri()}", wheel)
    ran(uv, "pip", "install", "--quiet", "--python", installed.python, "-c", pins, *asked, cwd=tmp_path)

    shutil.rmtree(plugin / "src")  # what is tested is what is installed
    said = ran(installed.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=plugin)
    assert int(re.search(r"^(\d+) passed in", said, re.MULTILINE)[1]) > 75
    rows = [line.split("\t") for line in ran(installed.micro, "plugins", cwd=tmp_path).splitlines()]
    assert ["store", "shelf", "micro-plugin-store-shelf"] in [row[:3] for row in rows]

    argv = ("--config", str(plugin / "micro.toml"), "--profile", "shelf")
    server = start(*argv)
    server.micro("store", "write", "greeting", "hello from a shelf")
    server.micro("config", "set", "shop.motd", "welcome")
    assert server.stop() == 0
    assert (server.data / "shelf.db").exists()
    assert not (server.data / "store.db").exists()
    again = start(*argv)
    assert again.micro("store", "read", "greeting") == "hello from a shelf\n"
    assert again.micro("config", "get", "shop.motd") == "welcome\n"
