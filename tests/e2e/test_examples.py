"""Each example through `micro run`, reached in all three ways: command line, HTTP, gRPC."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from micro.context import CORE_SERVICES
from micro.testing.platform import alive, until

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "examples"


def http(platform, path, body=None, headers=None, method=None):
    """Ask the gateway; gives status and JSON."""
    request = urllib.request.Request(
        f"http://{platform.address('api')}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | (headers or {}),
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as err:
        with err:
            return err.code, json.loads(err.read() or b"null")


def by_proxy(platform, work):
    """Do something with the library as from a laptop: through the proxy."""
    import micro

    admin = json.loads((platform.data / "admin.json").read_text())

    async def main():
        async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]):
            return await work()

    return asyncio.run(main())


def test_the_platform_is_ten_processes(platform):
    pids = platform.pids()
    assert sorted(pids) == sorted(CORE_SERVICES)
    assert len({platform.process.pid, *pids.values()}) == 11
    assert all(alive(pid) for pid in pids.values())
    banner = platform.log.read_text()
    for name in CORE_SERVICES:
        assert str(pids[name]) in banner
        assert platform.address(name) in banner
    assert str(platform.data) in banner


def test_helloworld_answers_in_all_three_ways(platform):
    platform.run(EXAMPLES / "helloworld")
    assert json.loads(platform.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
    assert json.loads(platform.micro("call", "helloworld", "Helloworld.Call", '{"name": "Bob"}')) == {
        "msg": "Hello Bob"
    }
    for path in ("/helloworld", "/helloworld/call", "/helloworld/Helloworld/Call"):
        assert http(platform, path, {"name": "Carol"}) == (200, {"msg": "Hello Carol"})
        assert http(platform, f"{path}?name=Dan") == (200, {"msg": "Hello Dan"})

    async def call():
        from micro import Client

        return await Client("helloworld").call("Helloworld.Call", {"name": "Eve"})

    assert by_proxy(platform, call) == {"msg": "Hello Eve"}
    assert "helloworld" in platform.micro("services").split()
    shown = platform.micro("get", "service", "helloworld")
    assert "Helloworld.Call" in shown
    assert "name string" in shown
    assert "call" in platform.micro("helloworld", "--help")
    assert "--name" in platform.micro("helloworld", "call", "--help")


def test_plain_grpc_reaches_helloworld_with_protobuf(platform):
    """A peer that knows only the schema: descriptors from the registry's digest, protobuf on the wire."""
    import grpc

    from micro.proto import debug_pb2
    from micro.schema import DynamicSchema

    platform.run(EXAMPLES / "helloworld")
    token = platform.micro("user", "token").strip()
    metadata = [("authorization", f"Bearer {token}"), ("micro-namespace", "micro")]
    with grpc.insecure_channel(platform.address("proxy")) as channel:
        schema = channel.unary_unary(
            "/helloworld.Debug/Schema",
            request_serializer=debug_pb2.SchemaRequest.SerializeToString,
            response_deserializer=debug_pb2.SchemaResponse.FromString,
        )(debug_pb2.SchemaRequest(), metadata=metadata, timeout=20)
        known = DynamicSchema(schema.files)
        request, response = known.request_type("Helloworld.Call"), known.response_type("Helloworld.Call")
        call = channel.unary_unary("/helloworld.Helloworld/Call")
        raw = call(request.to_proto(request.from_json(b'{"name": "Fay"}')), metadata=metadata, timeout=20)
        assert json.loads(response.to_json(response.from_proto(raw))) == {"msg": "Hello Fay"}
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/nope.Nope/Call")(b"", metadata=metadata, timeout=20)
        assert "service nope: route not found" in caught.value.details()


def test_the_guestbook_uses_every_building_block_and_a_second_service(platform):
    platform.run(EXAMPLES / "guestbook" / "visitors")
    platform.run(EXAMPLES / "guestbook" / "guestbook")
    platform.micro("config", "set", "guestbook.motd", "Hey")
    entry = json.loads(platform.micro("guestbook", "sign", "--text=hello"))
    assert entry["author"] == "admin"
    page = json.loads(platform.micro("guestbook", "list"))
    assert page["motd"] == "Hey"
    assert [e["text"] for e in page["entries"]] == ["hello"]

    status, anonymous = http(platform, "/guestbook/sign", {"text": "from a browser"})
    assert (status, anonymous["author"]) == (200, "somebody")

    def both():
        return json.loads(platform.micro("guestbook", "tally")).get("total") == 2

    until(both, what="the tally")
    tally = json.loads(platform.micro("guestbook", "tally"))
    assert tally["authors"] == {"admin": 1, "somebody": 1}
    assert json.loads(platform.micro("guestbook", "follow", "--count=1"))["total"] == 2
    assert json.loads(platform.micro("stream", "guestbook", "Guestbook.Follow", '{"count": 1}'))["total"] == 2

    status, refused = http(platform, "/guestbook/clear", {})
    assert status in {401, 403}
    assert refused["code"] == status
    assert http(platform, "/guestbook/sign", {"text": ""})[1]["detail"].startswith("text must have 1 to 280")
    assert "text must have 1 to 280" in platform.micro("guestbook", "sign", "--text=", code=127).lower()
    platform.micro("config", "set", "guestbook.max_length", "3")
    assert "1 to 3 characters" in platform.micro("guestbook", "sign", "--text=long", code=127)
    platform.micro("config", "del", "guestbook.max_length")

    async def follow():
        from micro import Client, events

        signed = await events.read("guestbook.signed")
        tallies = [t async for t in Client("guestbook").stream("Guestbook.Follow", {"count": 1})]
        return [json.loads(e.payload)["text"] for e in signed], tallies[0]["total"]

    assert by_proxy(platform, follow) == (["hello", "from a browser"], 2)
    assert json.loads(platform.micro("guestbook", "clear")) == {"entries": [], "motd": ""}
