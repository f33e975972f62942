"""A service's command on the socket: text, exit code, completion."""

import asyncio
import base64
import json
import stat

import pytest
from world import ANN, Helloworld

from micro.api.outcome import outcome
from micro.errors import DeadlineExceeded, InvalidArgument, Unauthenticated, Unavailable, from_grpc
from micro.testing.served import PLATFORM


class TestCommands:
    async def test_a_command_prints_the_answer(self, world):
        ran = await world.command("helloworld", "--name=x", "--count", "2", "--tags=a,b")
        assert (ran.exit, ran.err) == (0, "")
        assert json.loads(ran.out) == {"msg": "Hello x!! a,b- micro"}
        assert ran.out.startswith('{\n\t"msg"')

    async def test_words_name_endpoints_without_regard_to_case(self, world):
        for word in ("say-hi", "sayHi", "SayHi", "say_hi"):
            ran = await world.command("helloworld", word, "--name=y", "-o=raw")
            assert (ran.exit, ran.out) == (0, '{"msg":"hi y"}\n')

    async def test_a_streams_answers_are_printed_one_by_one(self, world):
        ran = await world.command("helloworld", "stream", "--name=x", "--count=2", "-o", "raw")
        assert (ran.exit, ran.out) == (0, '{"msg":"x 0"}\n{"msg":"x 1"}\n')

    async def test_a_stream_that_breaks_says_so_at_the_end(self, world):
        ran = await world.command("helloworld", "stream", "--name=breaks", "--count=1", "-o", "raw")
        assert (ran.exit, ran.out, ran.err) == (127, '{"msg":"breaks 0"}\n', "It broke\n")

    async def test_a_stream_of_requests_is_one_or_the_clients_own(self, world):
        who = world.bearer(PLATFORM)  # the directions are in the schema, which is for accounts
        ran = await world.command("helloworld", "chat", "--name=x", "-o=raw", headers=who)
        assert (ran.exit, ran.out) == (0, '{"msg":"X"}\n')
        assert (await world.command("helloworld", "chat", headers=who)).status == 409
        ran = await world.command("helloworld", "chat", "--input={}", "-o=raw", headers=who)
        assert (ran.exit, ran.out) == (0, '{"msg":""}\n')

    async def test_a_node_that_cannot_be_reached_is_named(self, world):
        for address in ("127.0.0.1:1", "nowhere.invalid:1"):
            for word in ("call", "stream"):
                ran = await world.command("helloworld", word, "--address", address)
                assert (ran.exit, ran.err) == (4, f"Failed to connect to micro server at {address}\n")

    async def test_errors_are_texts_and_codes(self, world):
        ran = await world.command("helloworld", "--name=bad")
        assert (ran.exit, ran.err, ran.out) == (127, "No such name\n", "")
        ran = await world.command("helloworld", "--count=many")
        assert ran.exit == 1
        assert ran.err.startswith("Flag --count: expected a whole number")
        ran = await world.command("helloworld", "--nme=x")
        assert (ran.exit, ran.err) == (1, "Unknown flag: nme. Did you mean --name?\n")
        ran = await world.command("helloworld", "nope", "--x=1")
        assert ran.exit == 5
        assert ran.err.startswith("Endpoint Helloworld.Nope not found for service helloworld")
        ran = await world.command("helloworld", f"--request_timeout={'9' * 400}h")
        assert (ran.exit, ran.err[:60]) == (2, "Flag --request_timeout: expected at most 3153600000 seconds,")
        ran = await world.command("helloworld", "--wait=5", "--request_timeout=100ms")
        assert (ran.exit, ran.err) == (1, "Request timed out\n")

    async def test_who_calls_is_the_token(self, world):
        ran = await world.command("helloworld", "--name=x", headers=world.bearer(ANN))
        assert json.loads(ran.out)["msg"] == "Hello x ann micro"
        assert (await world.command("helloworld", headers={"Authorization": "Bearer nope"})).status == 401
        world.guard.denied.add(("helloworld", "Helloworld.Call"))
        assert (await world.command("helloworld", "--name=x")).exit == 2

    async def test_a_namespaces_own_service_goes_before_the_platforms(self, world):
        await world.user("helloworld", Helloworld(), "shop")
        for headers in (world.bearer(ANN), {"X-Micro-Namespace": "shop"}):
            ran = await world.command("helloworld", "--name=x", headers=headers)
            assert json.loads(ran.out)["msg"].endswith(" shop")

    async def test_who_is_no_service_is_for_the_client_to_say(self, world):
        ran = await world.command("hellowrld")
        assert (ran.status, ran.body) == (404, b"helloworld\n")
        assert "X-Micro-Exit: 1" in ran.head
        assert (await world.command("no/ne")).status == 404

    async def test_files_come_with_the_request(self, world):
        files = {"req.json": base64.b64encode(b'{"name":"file"}').decode()}
        full = {"argv": ["helloworld", "--input=@req.json", "-o=raw"], "files": files}
        ran = await world.command(full=full)
        assert "Hello file" in ran.out
        ran = await world.command("helloworld", "--name=@nothing")
        assert (ran.exit, ran.err) == (1, "Cannot read 'nothing': the command line did not send it\n")

    async def test_help_is_the_services_and_the_endpoints(self, world):
        ran = await world.command("helloworld", "--help", headers=world.bearer(PLATFORM))
        assert ran.exit == 0
        assert "Greet someone." in ran.out
        assert "say-hi" in ran.out
        ran = await world.command("helloworld", "call", "--help")
        assert "--count" in ran.out
        assert "Greet someone." in ran.out

    async def test_metadata_and_a_nodes_address_are_options(self, world):
        ran = await world.command("helloworld", "--name=x", "--metadata=x-a=1", "--address=127.0.0.1:1")
        assert ran.exit == 4
        ran = await world.command("helloworld", "--name=x", "--metadata=x-a=1")
        assert ran.exit == 0
        assert world.helloworld.seen["x-a"] == "1"

    async def test_a_service_without_a_schema_has_its_registered_flags(self, world):
        world.guard.denied.add(("helloworld", "Debug.Schema"))
        ran = await world.command("helloworld", "--name=x", "--count=1")
        assert json.loads(ran.out)["msg"] == "Hello x! - micro"
        ran = await world.command("helloworld", "stream", "--name=x", "--count=1", "-o=raw")
        assert ran.out == '{"msg":"x 0"}\n'

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"argv":[]}', b'{"argv":["x"],"files":{"a":"%"}}'])
    async def test_a_malformed_request_is_said_to_be_one(self, world, body):
        assert (await world.socket("/cli", "application/json", {}, body)).status == 400
        assert (await world.socket("/cli", "text/plain", {}, b"\xff")).status == 400

    async def test_a_client_that_leaves_ends_the_call(self, world):
        reader, writer = await asyncio.open_unix_connection(str(world.data / "api.sock"))
        body = b"helloworld\0stream\0--name=hangs\0--count=1"
        writer.write(b"POST /cli HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"hangs 0")
        writer.close()
        await asyncio.wait_for(world.helloworld.cancelled.wait(), 5)

    async def test_the_socket_is_its_owners_alone(self, world):
        mode = (world.data / "api.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


class TestCompletion:
    async def complete(self, world, *words):
        ran = await world.socket("/complete", "text/plain", {}, "\0".join(words).encode())
        return ran.body.decode().split()

    async def test_services_then_endpoints_then_flags(self, world):
        assert await self.complete(world, "hel") == ["helloworld"]
        assert "registry" not in await self.complete(world, "hel")
        assert await self.complete(world, "helloworld", "s") == ["say-hi", "stream"]
        assert await self.complete(world, "helloworld", "call", "--c") == ["--count"]
        assert "--name" in await self.complete(world, "helloworld", "--")
        assert await self.complete(world, "nobody", "") == []


class TestOutcomes:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (InvalidArgument('malformed method name: "BadName"'),
             ('Method name "BadName" invalid format. Expecting service.endpoint', 3)),
            (from_grpc(13, "service foo-bar: route not found"), ('Service "foo-bar" not found', 4)),
            (from_grpc(12, "unknown service Foo"), ('Service "Foo" not found', 5)),
            (from_grpc(12, "unknown service Foo.Bar"), ('Service method "Foo.Bar" not found', 5)),
            (DeadlineExceeded("late", http=504), ("Request timed out", 1)),
            (Unauthenticated("no"), ("Not authorized to perform this request", 2)),
            (Unavailable("store.write: unavailable: x"), ("Store.write: unavailable: x", 127)),
            (ValueError("odd"), ("Odd", 128)),
        ],
    )  # fmt: skip
    def test_an_error_is_a_text_and_a_code(self, error, expected):
        assert outcome(error) == expected


async def test_the_gateways_own_methods_are_commands_too(world):
    ran = await world.command("api", "read-block-list", headers=world.bearer(PLATFORM))
    assert json.loads(ran.out) == {"ids": []}
