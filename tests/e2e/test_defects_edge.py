"""What the platform's forerunner got wrong at its doors and in its callers, by the numbers of the list made of it."""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import micro
from micro import limits
from micro.errors import DeadlineExceeded, ResourceExhausted, ServiceError, Unavailable
from micro.proto import debug_pb2, store_pb2
from micro.testing import attacks as h2
from micro.testing.attacks import RawPeer
from micro.testing.platform import until

pytestmark = pytest.mark.e2e
HELLO = Path(__file__).parents[2] / "examples" / "helloworld"
CUT = 10.0  # seconds that a header, or a body's next piece, may take; and a client's first frames
LATE = 8.0  # more, on a busy machine
COUNTING = '''
import asyncio
import os
from pathlib import Path

from micro import Service, endpoint
from micro.errors import DeadlineExceeded, Internal, Unavailable

RUNS = Path(os.environ["RUNS"])
FAILURES = {"unavailable": Unavailable, "internal": Internal, "late": DeadlineExceeded}


async def fail(how: str) -> None:
    with (RUNS / how).open("a") as file:
        file.write("x")
    if how == "die":
        os._exit(1)
    if how == "hang":
        await asyncio.sleep(600)
    raise FAILURES[how.removeprefix("again-")]("as it was asked to")


class Counting:
    """Does something that shows, and fails."""

    async def once(self, how: str) -> None:
        await fail(how)

    @endpoint(idempotent=True)
    async def again(self, how: str) -> None:
        await fail(how)


Service("counting", handlers=[Counting()]).run()
'''


@pytest.fixture
async def as_admin(platform):
    admin = json.loads((platform.data / "admin.json").read_text())
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        yield process


def door(platform, name):
    host, _, port = platform.address(name).rpartition(":")
    return host, int(port)


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


async def until_cut(address, said: bytes):
    """Say something and no more; gives how long it took to be cut off, and what was answered."""
    reader, writer = await asyncio.open_connection(*address)
    began = time.monotonic()
    try:
        writer.write(said)
        async with asyncio.timeout(CUT + LATE):
            try:
                answer = await reader.read()
            except ConnectionError:
                answer = b""
    finally:
        writer.close()
    return time.monotonic() - began, answer


def asked(platform, method="GET", path="/registry/Registry/ListServices", body=None, **headers):
    """Ask the gateway; gives the status."""
    connection = http.client.HTTPConnection(platform.address("api"), timeout=CUT + LATE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_d8_who_speaks_slowly_or_too_much_to_the_gateway_is_cut_and_nobody_else_waits(platform):
    platform.run(HELLO)
    address = door(platform, "api")
    head = b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    slow = [
        until_cut(address, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "),  # a header that does not end
        until_cut(address, head + b"Content-Length: 100\r\n\r\n{"),  # a body that does not
    ]
    cut = asyncio.gather(*slow)
    for _ in range(5):  # somebody else is answered all the while
        began = time.monotonic()
        assert await asyncio.to_thread(asked, platform) == 401
        assert time.monotonic() - began < LATE
        await asyncio.sleep(CUT / 10)
    (header, _), (body, said) = await cut
    assert max(header, body) < CUT + LATE
    assert status(said) == 408

    large = limits.HTTP_BODY + 1
    assert status((await until_cut(address, head + f"Content-Length: {large}\r\n\r\n".encode()))[1]) == 413
    assert await asyncio.to_thread(asked, platform, x_long="x" * 9 * limits.KIB) == 431
    many = {f"x_{n}": "x" for n in range(70)}
    assert await asyncio.to_thread(asked, platform, **many) == 431


async def test_d9_the_proxys_door_has_limits_for_messages_streams_headers_and_silence(platform, as_admin):
    silent = asyncio.gather(*(until_cut(door(platform, "proxy"), said) for said in (b"", h2.PREFACE[:10])))

    record = store_pb2.Record(key="large", value=bytes(limits.MESSAGE + 1))
    with pytest.raises(ResourceExhausted):
        await as_admin.caller.call(
            "store", "Store.Write", store_pb2.WriteRequest(record=record), store_pb2.WriteResponse
        )

    address = platform.address("proxy")
    for size, taken in ((limits.METADATA_EDGE // 2, True), (limits.METADATA_EDGE + 1024, False)):
        async with RawPeer(address) as peer:  # who never acknowledges the settings has no larger headers for it
            block = h2.request(b"/store.Store/Read", [(b"x-%d" % n, b"x" * 990) for n in range(size // 1000 + 1)])
            await peer.send(
                h2.frame(h2.HEADERS, h2.END_STREAM, 1, block[:16_000])
                + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[16_000:])
            )
            answer = await peer.frames(*h2.ANSWER, within=LATE)
            assert (answer[-1].kind == h2.HEADERS) is taken, answer  # it was looked at, or cut off
    async with RawPeer(address) as peer:  # rapid reset
        for batch in range(100):
            ids = range(1 + 1000 * batch, 1001 + 1000 * batch, 2)
            if not await peer.send(
                b"".join(h2.headers(s, h2.request(b"/store.Store/Read")) + h2.reset(s) for s in ids)
            ):
                break
        assert await peer.hung_up()
    await as_admin.caller.call("store", "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse)

    for took, _ in await silent:
        assert took < CUT + LATE


async def test_d9_a_peer_that_hangs_costs_a_call_its_deadline_and_no_more(platform, as_admin):
    """A service that is stopped, as a hung one is: its connection stays, and nothing comes."""
    info = debug_pb2.InfoRequest(), debug_pb2.InfoResponse
    await as_admin.caller.call("network", "Debug.Info", *info)
    pid = platform.pids()["network"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await as_admin.caller.call("network", "Debug.Info", *info, timeout=1)
        assert 0.9 < time.monotonic() - began < 1 + LATE
    finally:
        os.kill(pid, signal.SIGCONT)
    await as_admin.caller.call("network", "Debug.Info", *info)


async def test_d20_what_may_have_happened_is_not_done_again_unless_its_author_says_it_may(platform, tmp_path):
    folder, runs = tmp_path / "counting", tmp_path / "runs"
    folder.mkdir()
    runs.mkdir()
    (folder / "main.py").write_text(COUNTING)
    platform.micro("run", str(folder), "--env_vars", f"RUNS={runs}")
    until(lambda: " running " in platform.micro("status", "counting"), what="counting running")

    def done(how):
        path = runs / how
        found = len(path.read_text()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return found

    try:
        await called(platform, done)
    finally:
        platform.micro("kill", "counting")


async def called(platform, done):
    admin = json.loads((platform.data / "admin.json").read_text())
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        for how in ("unavailable", "internal", "late", "hang"):
            with pytest.raises(ServiceError):
                await process.caller.call("counting", "Counting.Once", {"value": how}, dict, timeout=2)
            assert done(how) == 1, f"{how}, by the library"
            if how != "hang":
                token = platform.micro("user", "token").strip()
                path, body = "/counting/Counting/Once", json.dumps({"value": how})
                headers = {"content_type": "application/json", "authorization": f"Bearer {token}"}
                assert await asyncio.to_thread(asked, platform, "POST", path, body, **headers) >= 408
                assert done(how) == 1, f"{how}, by the gateway"
            said = json.dumps({"value": how})
            command = ("call", "--request_timeout", "2s", "counting", "Counting.Once", said)
            ran = await asyncio.to_thread(
                subprocess.run, [platform.launcher, *command], env=platform.env, capture_output=True, check=False
            )
            assert ran.returncode != 0
            assert done(how) == 1, f"{how}, by a command"
        # what would be done again, were it not for that: the same failure of an endpoint that may be repeated
        with pytest.raises(Unavailable):
            await process.caller.call(
                "counting", "Counting.Again", {"value": "again-unavailable"}, dict, idempotent=True
            )
        assert done("again-unavailable") > 1
        with pytest.raises(ServiceError):
            await process.caller.call("counting", "Counting.Once", {"value": "die"}, dict)
        assert done("die") == 1, "its process ended with it"
