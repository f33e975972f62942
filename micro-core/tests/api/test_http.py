"""The gateway as its HTTP clients see it."""

import asyncio
import json

import aiohttp
import pytest
from world import ANN

from micro.errors import ServiceError


async def get(world, path, **options):
    async with world.http.get(path, **options) as answer:
        return answer.status, await answer.text()


async def post(world, path, **options):
    async with world.http.post(path, **options) as answer:
        return answer.status, await answer.text()


class TestCalls:
    async def test_a_path_names_service_and_endpoint_in_all_its_forms(self, world):
        for path in ("/helloworld", "/helloworld/call", "/helloworld/Helloworld/Call", "/helloworld//call/"):
            status, text = await post(world, path, json={"name": "x"})
            assert (status, json.loads(text)) == (200, {"msg": "Hello x - micro"})

    async def test_a_query_is_the_request(self, world):
        _, text = await get(world, "/helloworld?name=x&count=2&tags[]=a&tags[]=b")
        assert json.loads(text)["msg"] == "Hello x!! a,b- micro"
        assert (await get(world, "/helloworld/say-hi"))[1] == '{"msg":"hi "}'

    async def test_an_answer_says_what_it_is(self, world):
        async with world.http.post("/helloworld", json={"name": "x"}) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Content-Length"]
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert answer.headers["Server"] == "micro"

    async def test_an_answer_has_the_same_head_however_its_connection_goes_on(self, world):
        async def raw(first, *lines):
            heads, _, body = (await world.raw("\r\n".join([first, "Host: x", *lines, "", ""]).encode())).partition(
                b"\r\n\r\n"
            )
            status, *fields = heads.decode().split("\r\n")
            return status, dict(line.split(": ") for line in fields), body

        path = "/helloworld?name=x"
        status, old, body = await raw(f"GET {path} HTTP/1.0")
        assert (status, json.loads(body)["msg"]) == ("HTTP/1.0 200 OK", "Hello x - micro")
        status, closing, body = await raw(f"GET {path} HTTP/1.1", "Connection: close")
        assert (status, closing.pop("Connection"), json.loads(body)["msg"]) == (
            "HTTP/1.1 200 OK", "close", "Hello x - micro",
        )  # fmt: skip
        async with world.http.get(path) as answer:
            kept = dict(answer.headers)
            assert answer.reason == "OK"
        assert [set(each) for each in (old, closing)] == [set(kept)] * 2
        assert {**old, "Date": ""} == {**closing, "Date": ""} == {**kept, "Date": ""}

    async def test_requests_in_a_row_are_answered_in_order(self, world):
        one = b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b"
        bodies = [b'{"name":"%d"}' % n for n in range(100)]
        more = [b""] * 99 + [b"Connection: close\r\n"]
        got = await world.raw(b"".join(one % (len(body), end, body) for body, end in zip(bodies, more, strict=True)))
        assert got.count(b"HTTP/1.1 200 OK") == 100
        places = [got.index(b"Hello %d - " % n) for n in range(100)]
        assert places == sorted(places)

    async def test_forms_and_files_are_requests_too(self, world):
        assert "Hello form" in (await post(world, "/helloworld", data={"name": "form"}))[1]
        assert "Hello {x" in (await post(world, "/helloworld", data={"name": "{x"}))[1]
        with aiohttp.MultipartWriter("form-data") as parts:
            part = parts.append("part")
            part.set_content_disposition("form-data", name="name")
            assert "Hello part" in (await post(world, "/helloworld", data=parts))[1]

    async def test_a_head_is_a_get_without_its_body(self, world):
        async with world.http.head("/helloworld?name=x") as answer:
            assert answer.status == 200
            assert int(answer.headers["Content-Length"]) > 10
            assert await answer.read() == b""

    async def test_protobuf_passes_as_it_is(self, world):
        headers = {"Content-Type": "application/protobuf"}
        async with world.http.post("/helloworld", data=b"", headers=headers) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "application/protobuf")
            assert b"Hello " in await answer.read()

    async def test_grpc_callers_find_their_status_in_headers(self, world):
        headers = {"Content-Type": "application/grpc+json"}
        async with world.http.post("/helloworld", data=b'{"name":"x"}', headers=headers) as answer:
            assert answer.headers["grpc-status"] == "0"
            assert answer.headers["Content-Type"] == "application/grpc+json"

    async def test_what_is_always_the_same(self, world):
        from micro._version import __version__

        status, text = await get(world, "/")
        assert (status, json.loads(text)) == (200, {"version": __version__})
        assert await get(world, "/favicon.ico") == (200, "")
        async with world.http.options("/anything") as answer:
            assert (answer.status, await answer.text()) == (200, "")
            assert "Micro-Namespace" in answer.headers["Access-Control-Allow-Headers"]

    async def test_headers_go_on_but_those_of_the_connection(self, world):
        headers = {
            "X-Thing": "1", "Accept-Encoding": "gzip", "X-Api-Body": "no", "Micro-On-Behalf-Of": "Bearer evil",
            "Remote": "1.2.3.4:5", "Cookie": "a=b; micro-token=t; c=d", "Grpc-Timeout": "1n", "X-Raw-Bin": "!!",
        }  # fmt: skip
        await get(world, "/helloworld?name=x", headers={**headers, "Origin": "https://evil.example"})
        seen = world.helloworld.seen
        assert seen["x-thing"] == "1"
        assert seen["cookie"] == "a=b; c=d"
        assert seen["method"] == "GET"
        assert seen["url"] == "/helloworld?name=x"
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert seen["remote"].startswith("127.0.0.1:")
        assert len(seen["micro-trace-id"]) == 32
        assert not {"host", "accept-encoding", "x-api-body", "micro-on-behalf-of", "x-raw-bin"} & seen.keys()

    async def test_the_platforms_own_answer_by_their_names(self, world):
        status, text = await get(world, "/api/Api/ReadBlockList", headers=world.bearer(ANN))
        assert status == 403
        from micro.testing.served import PLATFORM

        status, text = await get(world, "/api/Api/ReadBlockList", headers=world.bearer(PLATFORM))
        assert (status, json.loads(text)) == (200, {"ids": []})
        status, text = await post(
            world, "/registry/Registry/GetService", json={"service": "helloworld"}, headers=world.bearer(PLATFORM)
        )
        assert json.loads(text)["services"][0]["name"] == "helloworld"

    async def test_a_namespace_sees_its_own_services_alone(self, world):
        assert (await get(world, "/helloworld", headers=world.bearer(ANN)))[0] == 404
        headers = {**world.bearer(ANN), "Micro-Namespace": "micro"}
        assert (await get(world, "/helloworld", headers=headers))[0] == 200
        assert (await get(world, "/helloworld", headers={"Micro-Namespace": "no/ne"}))[0] == 400

    async def test_a_call_goes_to_another_node_when_one_is_gone(self, world):
        from world import Helloworld

        second = await world.user("helloworld", Helloworld(), "micro")
        await asyncio.sleep(0)
        await second.stop(grace=0)
        for _ in range(6):
            assert (await get(world, "/helloworld?name=x"))[0] == 200
            assert (await get(world, "/helloworld/stream?name=x&count=1"))[0] == 200


class TestErrors:
    async def test_who_is_not_there_is_not_found(self, world):
        status, text = await get(world, "/nobody")
        assert status == 404
        assert text == '{"id":"api","code":404,"detail":"service not found","status":"Not Found"}'
        status, text = await get(world, "/helloworld/nope")
        assert status == 404
        assert json.loads(text)["detail"] == "unknown service Helloworld.Nope"
        for odd in ("/a%00b", "/%ff", "/helloworld/n%C3%B6", "/-", "/a%20b/c"):
            assert (await get(world, odd))[0] == 404

    async def test_a_services_error_is_its_status(self, world):
        status, text = await get(world, "/helloworld?name=bad")
        assert status == 400
        assert text == '{"id":"helloworld.greeter","code":400,"detail":"no such name","status":"Bad Request"}'
        assert (await get(world, "/helloworld?name=odd"))[0] == 405

    @pytest.mark.parametrize("body", [b"{", b'{"name":}', b"nope", b'{"name":"x"} more', b"[" * 50_000])
    async def test_malformed_json_is_the_callers_fault(self, world, body):
        status, text = await post(world, "/helloworld", data=body, headers={"Content-Type": "application/json"})
        assert (status, json.loads(text)["code"]) == (400, 400)
        assert "malformed JSON" in text

    async def test_a_field_that_does_not_fit_is_named(self, world):
        status, text = await post(world, "/helloworld", json={"name": 5})
        assert status == 400
        assert "name" in json.loads(text)["detail"]

    async def test_a_query_without_values_is_refused(self, world):
        assert (await get(world, "/helloworld?name"))[0] == 400
        assert (await get(world, "/helloworld?a=1&a[b]=2"))[0] == 400

    async def test_envelopes_are_not_unwrapped(self, world):
        headers = {"Content-Type": "application/octet-stream"}
        assert (await post(world, "/helloworld", data=b"x", headers=headers))[0] == 415
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert (await post(world, "/helloworld", data=b"x", headers=headers))[0] == 415

    async def test_a_bad_token_is_refused_in_plain_text(self, world):
        status, text = await get(world, "/helloworld", headers={"Authorization": "Bearer nope"})
        assert (status, text) == (401, "unauthorized request\n")
        world.guard.denied.add(("helloworld", "Helloworld.Call"))
        assert await get(world, "/helloworld") == (401, "unauthorized request\n")

    async def test_basic_is_ignored(self, world):
        status, text = await get(world, "/helloworld?name=x", headers={"Authorization": "Basic eDp5"})
        assert (status, json.loads(text)["msg"]) == (200, "Hello x - micro")

    async def test_a_services_own_408_stays(self, world):
        assert (await get(world, "/helloworld/late"))[0] == 408

    async def test_an_error_of_its_own_shows_a_number_alone(self, world, monkeypatch, caplog):
        def broken(*_):
            raise RuntimeError("secret")

        monkeypatch.setattr("micro.api.handler.metadata.onward", lambda *a, **k: broken())
        status, text = await get(world, "/helloworld")
        assert status == 500
        assert "secret" not in text
        assert "secret" in caplog.text


class TestTime:
    @pytest.fixture
    def settings(self):
        return {"timeout": 0.3}

    async def test_our_own_wait_that_runs_out_is_504(self, world):
        status, text = await post(world, "/helloworld", json={"name": "x", "wait": 5})
        assert status == 504
        assert json.loads(text)["id"] == "api"

    async def test_a_caller_may_wait_less(self, world):
        headers = {"Timeout": "50000000"}
        assert (await post(world, "/helloworld", json={"name": "x", "wait": 5}, headers=headers))[0] == 504


class TestCookies:
    @pytest.fixture
    def settings(self):
        return {"cors_origins": ["https://shop.example"]}

    async def who(self, world, **headers):
        token = world.guard.token(ANN)
        headers = {"Cookie": f"micro-token={token}", "Micro-Namespace": "micro", **headers}
        return json.loads((await get(world, "/helloworld", headers=headers))[1])["msg"].split()[-2]

    async def test_a_cookie_counts_for_named_and_same_origins_and_without_a_browser(self, world):
        own = world.url
        assert await self.who(world) == "ann"
        assert await self.who(world, Origin="https://shop.example") == "ann"
        assert await self.who(world, Origin=own) == "ann"
        assert await self.who(world, Origin="https://evil.example") == "-"
        assert await self.who(world, **{"Sec-Fetch-Site": "cross-site"}) == "-"
        assert "micro-token" not in world.helloworld.seen.get("cookie", "")

    async def test_credentials_are_for_named_origins(self, world):
        async with world.http.get("/helloworld", headers={"Origin": "https://shop.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        async with world.http.get("/helloworld", headers={"Origin": "https://evil.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers


class TestStreams:
    async def test_each_answer_is_written_as_it_comes(self, world):
        async with world.http.post("/helloworld/stream", json={"name": "x", "count": 3}) as answer:
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert await answer.text() == '{"msg":"x 0"}{"msg":"x 1"}{"msg":"x 2"}'

    async def test_an_error_before_the_first_is_an_error(self, world):
        assert (await post(world, "/helloworld/stream", json={"name": "bad"}))[0] == 400

    async def test_an_error_after_the_first_cuts_the_answer(self, world):
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(world, "/helloworld/stream", json={"name": "breaks", "count": 2})

    async def test_a_client_that_leaves_ends_the_call(self, world):
        async with world.http.post("/helloworld/stream", json={"name": "hangs", "count": 1}) as answer:
            await answer.content.readany()
        await asyncio.wait_for(world.helloworld.cancelled.wait(), 5)

    async def test_a_unary_call_is_cancelled_too(self, world):
        asking = asyncio.create_task(post(world, "/helloworld", json={"name": "x", "wait": 30}))
        while not world.helloworld.seen:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait_for(world.helloworld.cancelled.wait(), 5)


class TestWebsockets:
    async def test_each_frame_is_a_message(self, world):
        async with world.http.ws_connect("/helloworld/chat", protocols=["p1"]) as socket:
            assert socket.protocol == "p1"
            for name in ("a", "b"):
                await socket.send_str(json.dumps({"name": name}))
                assert await socket.receive_json() == {"msg": name.upper()}
            await socket.send_bytes(b'{"name":"' + b"x" * 5000 + b'"}')
            assert len((await socket.receive_json())["msg"]) == 5000

    async def test_a_servers_stream_ends_the_socket(self, world):
        async with world.http.ws_connect("/helloworld/stream") as socket:
            await socket.send_str('{"name":"x","count":2}')
            assert [await socket.receive_json() for _ in range(2)] == [{"msg": "x 0"}, {"msg": "x 1"}]
            assert (await socket.receive()).data in {None, 1000}

    async def test_an_error_is_a_frame_and_1011(self, world):
        for first in ('{"name":"bad"}', "{"):
            async with world.http.ws_connect("/helloworld/chat") as socket:
                await socket.send_str(first)
                assert (await socket.receive_json())["code"] == 400
                await socket.receive()
                assert socket.close_code == 1011

    async def test_who_may_not_call_gets_no_socket(self, world):
        world.guard.denied.add(("helloworld", "Helloworld.Chat"))
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await world.http.ws_connect("/helloworld/chat")
        assert caught.value.status == 401

    async def test_closing_ends_the_call(self, world):
        async with world.http.ws_connect("/helloworld/stream") as socket:
            await socket.send_str('{"name":"hangs","count":1}')
            await socket.receive_json()
        await asyncio.wait_for(world.helloworld.cancelled.wait(), 5)


class TestBlockList:
    async def test_who_is_on_the_list_is_not_let_in(self, world):
        from micro.testing.served import PLATFORM

        admin = world.bearer(PLATFORM)
        ann = {**world.bearer(ANN), "Micro-Namespace": "micro"}
        assert (await get(world, "/helloworld", headers=ann))[0] == 200
        body = {"id": "ann", "namespace": "shop"}
        assert (await post(world, "/api/Api/AddToBlockList", json=body, headers=admin))[0] == 200
        assert await get(world, "/helloworld", headers=ann) == (401, "unauthorized request\n")
        assert json.loads((await get(world, "/api/Api/ReadBlockList", headers=admin))[1]) == {"ids": ["shop:ann"]}
        assert (await post(world, "/api/Api/RemoveFromBlockList", json=body, headers=admin))[0] == 200
        assert (await get(world, "/helloworld", headers=ann))[0] == 200
        status, text = await post(world, "/api/Api/AddToBlockList", json={"id": "ann"}, headers=admin)
        assert (status, json.loads(text)["detail"]) == (400, "Missing Namespace field")
        assert json.loads(text)["id"] == "api.Api.AddToBlockList"


def test_what_is_plain_grpc_becomes_http():
    from micro.api.gateway import for_http
    from micro.errors import Unimplemented

    assert for_http(Unimplemented("unknown service X")).http == 404
    assert for_http(Unimplemented("no such capability")).http == 501
    assert isinstance(for_http(ServiceError("x")), ServiceError)
