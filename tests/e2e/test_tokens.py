"""Tokens on a real platform: keys change under load and nobody notices, a revoked account is out everywhere."""

import asyncio
import base64
import contextlib
import http.client
import json
import time
from functools import partial
from pathlib import Path

import pytest

import micro
from micro.context import CORE_SERVICES
from micro.errors import Unauthenticated
from micro.proto import auth_pb2, debug_pb2
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook

pytestmark = pytest.mark.e2e
HELLO = Path(__file__).parents[2] / "examples" / "helloworld"
BITES = 5.0  # seconds from a revocation to its effect, everywhere


@pytest.fixture
async def as_admin(platform):
    admin = json.loads((platform.data / "admin.json").read_text())
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        yield process


@contextlib.asynccontextmanager
async def bearing(platform, token):
    """Call every core service's own door with a token, past the proxy."""
    book = AddressBook({name: platform.address(name) for name in CORE_SERVICES if name not in {"proxy", "api"}})
    transport = Nghttp2Transport()
    await transport.open()
    caller = RpcCaller(transport=transport, resolver=book, credentials=FixedToken(token))
    try:
        yield caller
    finally:
        await caller.close()
        await transport.close()


async def account(process, id):
    asked = auth_pb2.GenerateRequest(
        id=id, secret=f"a secret of {id}", scopes=["admin"], options=auth_pb2.Options(namespace="micro")
    )
    await process.caller.call("auth", "Auth.Generate", asked, auth_pb2.GenerateResponse)


async def login(process, id):
    asked = auth_pb2.TokenRequest(id=id, secret=f"a secret of {id}", options=auth_pb2.Options(namespace="micro"))
    return (await process.caller.call("auth", "Auth.Token", asked, auth_pb2.TokenResponse)).token


async def info(caller, service):
    await caller.call(service, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse)


def kid_of(token):
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


async def test_signing_keys_change_under_load_and_no_call_fails(platform, as_admin):
    await account(as_admin, "busy")
    first = (await login(as_admin, "busy")).access_token
    doors = [name for name in CORE_SERVICES if name not in {"proxy", "api"}]
    rotated = asyncio.Event()
    seen = {first}

    async def calls(service):
        made = 0
        while not (rotated.is_set() and made >= 3):
            token = (await login(as_admin, "busy")).access_token
            seen.add(token)
            async with bearing(platform, token) as caller:
                for _ in range(5):
                    await info(caller, service)
            made = made + 1 if rotated.is_set() else 0

    load = asyncio.gather(*(calls(name) for name in doors))
    said = await asyncio.to_thread(platform.micro, "auth", "rotate", "--announce", "5")
    rotated.set()
    await load
    new = said.strip()
    assert {kid_of(token) for token in seen} == {kid_of(first), new}
    assert [path.stem for path in (platform.data / "keys").glob("*.pem")] == [new]
    async with bearing(platform, first) as caller:  # what the old key signed is good to its end
        for name in doors:
            await info(caller, name)
    assert "auth" in platform.micro("services").split()  # this machine's command line goes on, too


async def test_one_token_is_revoked_alone(platform, as_admin):
    await account(as_admin, "twice")
    lost, kept = [(await login(as_admin, "twice")).access_token for _ in range(2)]
    body = lost.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    platform.micro("auth", "revoke", "--token", said["jti"])
    async with bearing(platform, lost) as caller, asyncio.timeout(BITES):
        with pytest.raises(Unauthenticated):
            while True:
                await info(caller, "store")
    async with bearing(platform, kept) as caller:
        await info(caller, "store")
    for wrong in ((), ("twice", "--token", "x")):
        assert "Give an account's id, or --token" in platform.micro("auth", "revoke", *wrong, code=1)


def test_where_there_is_no_key_none_is_rotated(platform, tmp_path):
    assert "no server was started there yet" in platform.micro("auth", "rotate", "--data", str(tmp_path), code=1)
    assert not list(tmp_path.iterdir())


async def test_a_revoked_account_is_refused_by_every_process_within_five_seconds(platform, as_admin):
    await account(as_admin, "leaver")
    held = await login(as_admin, "leaver")
    assert 900 - 5 <= held.expiry - held.created <= 900
    platform.run(HELLO)
    (node,) = (await as_admin.registry.get("helloworld"))[0].nodes
    through = micro.connect(platform.address("proxy"), token=held.access_token)
    async with bearing(platform, held.access_token) as caller, through:

        async def by_gateway():
            connection = http.client.HTTPConnection(platform.address("api"), timeout=20)
            connection.request("GET", "/helloworld", headers={"Authorization": f"Bearer {held.access_token}"})
            status = connection.getresponse().status
            connection.close()
            if status == 401:
                raise Unauthenticated
            assert status == 200

        # each core service's own door, the proxy's, the gateway's, and a user's service past both
        ways = [partial(info, caller, name) for name in CORE_SERVICES if name not in {"proxy", "api"}]
        ways += [partial(info, through.caller, "store"), by_gateway]
        ways.append(partial(caller.call, "helloworld", "Helloworld.Call", {}, dict, address=node.address))
        for way in ways:
            await way()
        assert platform.micro("auth", "revoke", "leaver") == ""
        revoked = time.monotonic()
        left = dict(enumerate(ways))
        while left and time.monotonic() - revoked < BITES:
            for at, way in list(left.items()):
                with contextlib.suppress(Unauthenticated):
                    await way()
                    continue
                del left[at]
        assert not left
    refreshed = auth_pb2.TokenRequest(refresh_token=held.refresh_token, options=auth_pb2.Options(namespace="micro"))
    with pytest.raises(micro.errors.InvalidArgument):
        await as_admin.caller.call("auth", "Auth.Token", refreshed, auth_pb2.TokenResponse)
