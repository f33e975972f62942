"""What is peculiar to containers: their images, their rights, whose they are, how they reach the platform."""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from micro.errors import ConfigError, FailedPrecondition, Unavailable
from micro.runtime.driver import Handle, Instance, Limits, Spec
from micro.testing.servers.certificates import certificates
from micro.testing.servers.docker import DockerServer, docker
from micro.testing.servers.server import free_port
from micro_runtime_docker import DockerEngine, DockerSettings, root
from micro_runtime_docker.bridge import Bridge
from micro_runtime_docker.daemon import Daemon
from micro_runtime_docker.images import Images
from micro_runtime_docker.network import Network

PATIENCE = 30.0  # seconds anything may take on a loaded machine
IDLE = "sleep 600 & wait"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)


@pytest.fixture
def contained(contained_on: Callable[..., Any], docker_engine: DockerServer, image: str, tmp_path: Path) -> Any:
    return contained_on(docker_engine, tmp_path / "data", base=image)


@pytest.fixture
async def daemon(docker_engine: DockerServer) -> AsyncIterator[Daemon]:
    daemon = Daemon(DockerSettings(host=docker_engine.address))
    await daemon.open()
    yield daemon
    await daemon.close()


# images


async def test_an_image_runs_as_it_says_or_as_is_wanted(contained: Any, daemon: Daemon, image: str) -> None:
    await image_of(
        daemon,
        "speaker:1",
        f"FROM {image}\nENV WORD=hello\nWORKDIR /tmp\n"
        'ENTRYPOINT ["sh", "-c", "echo $WORD $0 in $PWD; sleep 600 & wait"]\nCMD ["itself"]\n',
    )
    async with contained.runtime() as runtime:
        for name, more, words in (
            ("own", {}, "hello itself in /tmp"),
            ("args", {"args": ["somebody"]}, "hello somebody in /tmp"),
            ("env", {"env": {"WORD": "bye"}}, "bye itself in /tmp"),
            ("command", {"command": ["sh", "-c", f"echo $WORD; {IDLE}"]}, "hello"),
        ):
            await runtime.run(name=name, image="speaker:1", wait=PATIENCE, **more)
            assert await contained.lines(runtime, name) == [words]
            await runtime.kill(name)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"image": "nobody/has-this:1"}, "docker pull nobody/has-this:1"),
        ({"image": "tools:1"}, "has no command of its own"),
        ({"image": "tools:1", "command": ["no-such-program"]}, "there is no program 'no-such-program'"),
        ({"image": "tools:1", "command": ["./no-such-file"]}, "there is no program './no-such-file'"),
    ],
)
async def test_what_cannot_be_run_says_what_is_missing(contained: Any, wanted: dict[str, Any], words: str) -> None:
    async with contained.runtime() as runtime:
        with pytest.raises(FailedPrecondition) as caught:
            await runtime.run(name="missing", wait=PATIENCE, **wanted)
        assert words in str(caught.value)
        await runtime.kill("missing")
    await contained.gone()


async def test_a_source_on_a_named_base_has_what_it_asks_for_installed_there(
    contained_on: Callable[..., Any], docker_engine: DockerServer, daemon: Daemon, tmp_path: Path
) -> None:
    site = next(name for name in root.members() if name.endswith("/micro/__init__.py")).removesuffix(
        "micro/__init__.py"
    )
    pip = {f"{site}{inside}": path for inside, path in root._packages("pip") if inside.startswith("pip")}
    await Images(daemon, "").make("with-pip:1", root.members() | pip)
    contained = contained_on(docker_engine, tmp_path / "data", base="with-pip:1")
    source = tmp_path / "asker"
    source.mkdir()
    main = source / "main.py"
    main.write_text("import time, wanted\nprint(wanted.VERSION, flush=True)\ntime.sleep(600)\n")
    wheel(source / "wanted-1.0-py3-none-any.whl")
    (source / "requirements.txt").write_text("./wanted-1.0-py3-none-any.whl\n")
    async with contained.runtime() as runtime:
        await runtime.run(source, wait=PATIENCE)
        await contained.until(lambda: said(contained, runtime, "asker", "1.0"), PATIENCE, "it has what it asks for")
        await runtime.kill("asker")
        (source / "requirements.txt").write_text("./not-there-1.0-py3-none-any.whl\n")
        with pytest.raises(FailedPrecondition, match="its image could not be built"):
            await runtime.run(source, wait=PATIENCE)
        assert "not-there-1.0" in "\n".join(await contained.lines(runtime, "asker"))
        await runtime.kill("asker")
    assert [each for each in await daemon.ask("GET", "images/json") if contained.owner in str(each["Labels"])] == []


async def test_builds_are_kept_as_long_as_they_are_needed(contained: Any, daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "keeper"
    source.mkdir()

    async def builds() -> int:
        return len([each for each in await daemon.ask("GET", "images/json") if contained.owner in str(each["Labels"])])

    async with contained.runtime() as runtime:
        for name in ("keeper", "other"):
            (source / "run.sh").write_text(f"echo {name}; {IDLE}\n")
            await runtime.run(source, name=name, command=["sh", "run.sh"], wait=PATIENCE)
        assert await builds() == 2
        (source / "run.sh").write_text(f"echo again; {IDLE}\n")
        await runtime.run(source, name="keeper", command=["sh", "run.sh"], wait=PATIENCE, force=True)
        assert await contained.lines(runtime, "keeper") == ["keeper", "again"]
        assert await builds() == 2
    async with contained.runtime() as runtime:  # what a later one does not know it leaves alone
        assert await builds() == 2
        for name in ("keeper", "other"):
            await runtime.kill(name)
        assert await builds() == 0


# whose they are


async def test_no_names_of_two_tenants_lead_to_one_container(contained: Any) -> None:
    namespaces = ("a", "ab", "A", "a.", "a-b", "a_b")
    names = ("b-c", "c", "a")
    runtimes = {namespace: contained.runtime(namespace) for namespace in ("a",)}
    async with runtimes["a"] as first:
        runtimes |= {each: type(first)(first.driver, plugin="docker", namespace=each) for each in namespaces}
        for namespace, name in itertools.product(namespaces, names):
            await runtimes[namespace].create(Spec(name, command=["sh", "-c", f"echo {namespace}/{name}; {IDLE}"]))
        for namespace, name in itertools.product(namespaces, names):
            await runtimes[namespace].running(name, wait=PATIENCE)
            assert await contained.lines(runtimes[namespace], name) == [f"{namespace}/{name}"]
        for name in names:
            await first.kill(name)
        assert await first.status() == []
        left = [(each["Labels"]["micro.namespace"], each["Labels"]["micro.service"]) for each in contained.containers()]
        assert sorted(left) == sorted(itertools.product(namespaces[1:], names))
        for namespace in namespaces[1:]:
            assert [one.spec.name for one in await runtimes[namespace].status()] == sorted(names)
        kills = [runtimes[namespace].kill(name) for namespace, name in itertools.product(namespaces[1:], names)]
        await asyncio.gather(*kills)


async def test_servers_on_one_engine_leave_each_others_containers_alone(
    contained_on: Callable[..., Any], docker_engine: DockerServer, image: str, tmp_path: Path
) -> None:
    one, two = (contained_on(docker_engine, tmp_path / name, base=image) for name in ("one", "two"))
    async with one.runtime() as first:
        await first.run(name="same", command=["sh", "-c", f"echo one; {IDLE}"], wait=PATIENCE)
        (before,) = one.containers()
        async with two.runtime() as second:
            assert await second.status() == []
            await second.run(name="same", command=["sh", "-c", f"echo two; {IDLE}"], wait=PATIENCE)
            assert await contained_on.lines(second, "same") == ["two"]
            await second.kill("same")
        assert [each["Id"] for each in one.containers("running")] == [before["Id"]]
        await first.kill("same")


async def test_what_a_later_engine_does_not_know_is_removed(docker_engine: DockerServer, image: str) -> None:
    settings = DockerSettings(host=docker_engine.address, base=image, network="none")
    supervisor = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        async with DockerEngine(settings, alive=supervisor[0], owner="somebody") as engine:
            known, unknown = [await engine.start(instance(number, folder)) for number in (0, 1)]
        async with DockerEngine(settings, alive=supervisor[0], owner="somebody") as engine:
            assert await engine.adopt([known]) == [known]
            left = {each["Id"] for each in docker_engine.ask("GET", "/containers/json?all=1")}
            assert known.state["container"] in left
            assert unknown.state["container"] not in left
        # of a supervisor that is gone nothing is taken over: its end has ended what it ran, or is about to
        async with DockerEngine(settings, alive=os.pipe()[0], owner="somebody") as engine:
            assert await engine.adopt([Handle(known.id, known.state)]) == []
            left = {each["Id"] for each in docker_engine.ask("GET", "/containers/json?all=1")}
            assert known.state["container"] not in left


# the way to the platform


async def test_the_gateway_lets_containers_of_its_network_in_and_nobody_else() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(100):
                writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for subnet, heard in (("127.0.0.0/8", b"hello"), ("172.18.0.0/16", b"")):
        network = Fixed("127.0.0.2", subnet)
        bridge = Bridge(network, "", {"network": f"127.0.0.1:{port}"})
        await bridge.open()
        assert bridge.variables == {"MICRO_PROXY": f"127.0.0.2:{port}", "MICRO_SERVICE_ADDRESS": ":0"}
        reader, writer = await asyncio.open_connection("127.0.0.2", port)
        writer.write(b"hello")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(100), PATIENCE) == heard
        with pytest.raises(Unavailable, match=f"127.0.0.2:{port}.*runtime.platform"):
            await Bridge(network, "", {"network": f"127.0.0.1:{port}"}).open()
        await bridge.close()
        writer.close()
    server.close()


@pytest.mark.parametrize(
    ("platform", "door", "gateway", "told"),
    [
        ("", "10.0.0.4:8443", "172.18.0.1", "10.0.0.4:8443"),
        ("", "0.0.0.0:8443", "172.18.0.1", "172.18.0.1:8443"),
        ("", "127.0.0.1:8443", "", "127.0.0.1:8443"),
        ("platform.example:8443", "127.0.0.1:8443", "172.18.0.1", "platform.example:8443"),
    ],
)
async def test_containers_are_told_where_the_platform_is(platform: str, door: str, gateway: str, told: str) -> None:
    bridge = Bridge(Fixed(gateway, ""), platform, {"network": door})
    await bridge.open()
    assert bridge.variables["MICRO_PROXY"] == told
    await bridge.close()


# to the engine


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"host": "/var/run/docker.sock"}, "unix:///path or tcp://host:port"),
        ({"host": "tcp://127.0.0.1:2375"}, "tcp:// is for TLS"),
        ({"host": "tcp://127.0.0.1:2376", "ca": "ca.pem", "certificate": "c.pem"}, "tcp:// is for TLS"),
    ],
)
def test_an_engine_is_asked_by_a_socket_or_by_tls_alone(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DockerSettings(**given)


CLIENT = """
import asyncio, sys
from micro_runtime_docker import DockerEngine, DockerSettings
async def main(host, ca, certificate, key):
    async with DockerEngine(DockerSettings(host=host, ca=ca, certificate=certificate, key=key, timeout=10)) as engine:
        print(await engine.adopt([]), sorted(engine.capabilities)[0])
try:
    asyncio.run(main(*sys.argv[1:]))
except Exception as err:
    print(type(err).__name__, err)
"""


def test_an_engine_with_tls_wants_and_shows_a_certificate(tmp_path: Path) -> None:
    port = free_port()
    right, wrong = (certificates(made) for made in (tmp_path / "right", tmp_path / "wrong") if not made.mkdir())
    tls = ["--tlsverify", f"--tlscacert={right.ca}", f"--tlscert={right.certificate}", f"--tlskey={right.key}"]
    server = docker(options=lambda _: ["-H", f"tcp://127.0.0.1:{port}", *tls])
    try:
        server.start()
        for known, words in ((right, "[] limit-cpu"), (wrong, "Unavailable")):
            files = [str(known.ca), str(known.certificate), str(known.key)]
            asked = server.inside(sys.executable, "-c", CLIENT, f"tcp://127.0.0.1:{port}", *files)
            done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.stdout.startswith(words), done
    finally:
        server.end()


# what they use


class Fixed(Network):
    """A network that is there, at addresses of this machine."""

    def __init__(self, gateway: str, subnet: str) -> None:
        self.name = "fixed"
        self._place = gateway, subnet

    async def place(self) -> tuple[str, str]:
        return self._place


def instance(number: int, folder: str) -> Instance:
    command = ["sh", "-c", f"echo up; {IDLE}"]
    return Instance("micro", "left", "1", number, command, "/", {}, f"{folder}/{number}.log", Limits())


async def image_of(daemon: Daemon, name: str, recipe: str) -> None:
    import io
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(recipe.encode())
        tar.addfile(member, io.BytesIO(recipe.encode()))
    file.seek(0)
    async for _ in Images(daemon, "").build(name, file, {}):
        pass


async def said(contained: Any, runtime: Any, name: str, line: str) -> bool:
    return line in await contained.lines(runtime, name)


def wheel(path: Path) -> None:
    """Write a wheel of one module, so that installing it needs no index."""
    info = "wanted-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("wanted.py", "VERSION = '1.0'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wanted\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
