"""What a door lets through, to whom, with which headers; and what it says to the rest."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from micro import limits
from micro.context import Account
from micro.errors import Code, NotFound, PermissionDenied, Unauthenticated, Unavailable, Unimplemented
from micro.proto import auth_pb2
from micro.proxy.balance import Balance
from micro.proxy.dispatch import ForwardingDispatcher
from micro.proxy.exchange import Exchange
from micro.rpc.balance import Target
from micro.rpc.driver import START, TAKEN, Dispatcher, Elsewhere, Forwarder, Headers, ServerCall
from micro.rpc.guard import NotReadyError
from micro.rpc.resolve import Resolver, missing

# Every way that was found to write a path that some stack reads differently from another.
ODD = [
    b"a.B/C", b"//a.B/C", b"/a.B/../D.E/F", b"/a.B/C?x=1", b"/a%2eB/C", b"/a.B/C\0", b"*", b"", b"/a.B/C/", b"/a.B//C",
    b"/a.B/C ", b"/a.B/C\n",
]  # fmt: skip
MORE = [
    b"/", b"/a", b"/a.B", b"/a.B/", b"/.B/C", b"/a..B/C", b"/a./C", b"/-a.B/C", b"/a.1B/C", b"/a.B/1C", b"/a.B/C#x",
    b"/A.B/C;x", "/é.B/C".encode(), "/a.B/É".encode(), b"/a.B/C/D", b"/a/B.C", b"BadName", b"A.B.C", b"\xff\xfe", b"/a.B-c/D",
    b"http://h/a.B/C", b"/a.B/C%00", b"/a.B\\C", "/a\uff0eB/C".encode(),
]  # fmt: skip


class Call(ServerCall):
    """A call that notes how it was answered."""

    def __init__(self, path: bytes, headers: Headers = ()) -> None:
        self.path = path
        self.content_type = b"application/grpc+proto"
        self.peer = "10.0.0.9:5000"
        self.deadline = None
        self.headers = list(headers)
        self.cancelled = False
        self.slot = None
        self.end = None
        self.over = asyncio.Event()

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)

    def shorten(self, deadline: float) -> None:
        self.deadline = min(deadline, self.deadline or deadline)

    async def read(self) -> bytes | None:
        return None

    def send_headers(self, headers: Headers = ()) -> None: ...

    async def write(self, message: bytes) -> None: ...

    def reply(self, message: bytes, headers: Headers = ()) -> None: ...

    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        assert self.end is None
        self.end = code, message
        self.over.set()

    @property
    def error(self) -> dict:
        """The micro error it was answered with."""
        return json.loads(self.end[1])


class Own(Dispatcher):
    """The process's own dispatcher."""

    def __init__(self) -> None:
        self.opened = []

    def open(self, call: ServerCall) -> int:
        self.opened.append(call.path)
        return START

    async def run(self, call: ServerCall) -> None: ...

    def words(self, _call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        return code, f"own: {text}", b""


class Passing(Forwarder):
    """Notes what goes on, and where."""

    def __init__(self) -> None:
        self.passed = []
        self.came = asyncio.Event()

    def forward(
        self,
        call: ServerCall,
        address: str,
        headers: Headers,
        *,
        done: Callable[[int], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.passed.append((call.path, address, list(headers), done))
        call.over.set()

    async def close(self) -> None: ...


class Tokens:
    """A guard whose tokens are `issuer.id`."""

    def __init__(self) -> None:
        self.ready = True
        self.asked = []
        self.prepared = []
        self.denied = set()

    def identify(self, authorization: bytes, *, audience: str = "micro") -> Account:
        assert audience == "micro"
        if not self.ready:
            raise NotReadyError
        scheme, _, token = authorization.decode().partition(" ")
        if scheme != "Bearer" or token.count(".") != 1:
            raise Unauthenticated("invalid token provided")
        issuer, id = token.split(".")
        return Account(id, issuer=issuer)

    def check(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        self.asked.append((account.id if account else None, namespace, service, endpoint))
        if (service, endpoint) in self.denied:
            raise PermissionDenied("a rule") if account else Unauthenticated("a rule")

    async def prepare(self, authorization: bytes | None, namespace: str) -> None:
        self.prepared.append((authorization, namespace))
        await asyncio.sleep(0)
        self.ready = True


class Known(Resolver):
    """A few services."""

    def __init__(self) -> None:
        self.here = {("shop", "orders"): ["h:1"], ("micro", "store"): ["h:2"], ("micro", "auth"): ["h:3"]}
        self.far = {("shop", "new"): ["h:4"]}
        self.failure = None

    def known(self, service: str, namespace: str) -> Sequence[Target] | None:
        found = self.here.get((namespace, service))
        return [Target(address) for address in found] if found else None

    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        found = self.far.get((namespace, service))
        if found is None:
            raise missing(service)
        return [Target(address) for address in found]


class Door:
    """A dispatcher with all that is around it."""

    def __init__(self, *, edge: bool = True, exchange: Exchange | None = None, name: str = "proxy") -> None:
        self.own = Own()
        self.guard = Tokens()
        self.routes = Known()
        self.forwarder = Passing()
        self.dispatcher = ForwardingDispatcher(
            name,
            self.own,
            guard=self.guard,
            routes=self.routes,
            forwarder=self.forwarder,
            edge=edge,
            exchange=exchange,
        )

    def knock(self, path: bytes, **headers: str) -> Call:
        """Open a call, decided at once."""
        call = Call(path, [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()])
        self.verdict = self.dispatcher.open(call)
        return call

    async def wait(self, path: bytes, **headers: str) -> Call:
        """Open a call that must wait for something."""
        call = self.knock(path, **headers)
        assert call.end is None
        assert not self.forwarder.passed
        await asyncio.wait_for(call.over.wait(), 5)
        return call

    @property
    def sent(self) -> dict[bytes, bytes]:
        """The headers of the one call that went on, each once."""
        _, _, headers, _ = self.forwarder.passed[-1]
        assert len(dict(headers)) == len(headers)
        return dict(headers)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    await door.dispatcher.close()


@pytest.fixture
async def inside() -> AsyncIterator[Door]:
    door = Door(edge=False, name="network")
    yield door
    await door.dispatcher.close()


ORDER = b"/orders.Orders/Place"
SHOP = {"authorization": "Bearer shop.ann"}


class TestPaths:
    @pytest.mark.parametrize("path", ODD + MORE)
    async def test_an_odd_path_is_refused_before_anything_else(self, door: Door, path: bytes) -> None:
        door.guard.identify = door.guard.check = None  # whoever asks them fails
        call = door.knock(path, **SHOP)
        assert door.verdict == TAKEN
        assert call.end[0] == Code.INVALID_ARGUMENT
        assert call.end[1].startswith('malformed method name: "')
        assert not door.forwarder.passed
        assert not door.own.opened

    async def test_a_path_without_a_service_has_the_originals_words(self, door: Door) -> None:
        call = door.knock(b"/Store/Read")
        assert call.end[0] == Code.INVALID_ARGUMENT
        error = {"id": "go.micro.proxy", "code": 400, "detail": "service name is blank", "status": "Bad Request"}
        assert call.error == error

    @pytest.mark.parametrize(
        ("path", "service", "endpoint"),
        [
            (b"/v1.foo.Foo/Bar", "v1.foo", "Foo.Bar"),
            (b"/foo-bar.FooBar/Call", "foo-bar", "FooBar.Call"),
            (b"/9.A/b", "9", "A.b"),
        ],
    )
    async def test_the_service_is_what_stands_before_the_last_dot(
        self, door: Door, path: bytes, service: str, endpoint: str
    ) -> None:
        door.routes.here["shop", service] = ["h:9"]
        door.knock(path, **SHOP)
        assert door.guard.asked == [("ann", "shop", service, endpoint)]
        assert door.forwarder.passed[0][:2] == (path, "h:9")

    @pytest.mark.parametrize(
        "path", [b"/proxy.Debug/Health", b"/proxy.Debug/Stats", b"/proxy.Any/Thing", b"/grpc.health.v1.Health/Check",
                 b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                 b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"],
    )  # fmt: skip
    async def test_its_own_name_health_and_reflection_are_answered_here(self, door: Door, path: bytes) -> None:
        door.knock(path, authorization="Bearer broken")
        assert door.own.opened == [path]
        assert door.verdict == START
        assert not door.guard.asked

    async def test_another_doors_name_is_passed_on(self, inside: Door) -> None:
        inside.routes.here["micro", "proxy"] = ["h:7"]
        inside.knock(b"/proxy.Debug/Health")
        assert inside.forwarder.passed[0][1] == "h:7"

    async def test_paths_that_strangers_choose_do_not_fill_the_memory(self, door: Door) -> None:
        for n in range(10_000):
            door.knock(b"/s%d.A/B" % n)
        assert len(door.dispatcher._plans) <= 4096


class TestWhoCalls:
    async def test_a_call_goes_on_with_its_token_and_namespace(self, door: Door) -> None:
        call = door.knock(ORDER, **SHOP, x_custom="1")
        assert call.end is None
        assert door.forwarder.passed[0][1] == "h:1"
        assert door.sent[b"authorization"] == b"Bearer shop.ann"
        assert door.sent[b"micro-namespace"] == b"shop"
        assert door.sent[b"x-custom"] == b"1"

    @pytest.mark.parametrize("value", ["Bearer broken", "bearer shop.ann", "Basic x", "shop.ann", "Bearer ", "Bearer"])
    async def test_a_bad_token_is_refused_where_none_would_pass(self, door: Door, value: str) -> None:
        door.knock(ORDER, micro_namespace="shop")
        assert len(door.forwarder.passed) == 1
        call = door.knock(ORDER, micro_namespace="shop", authorization=value)
        assert call.end[0] == Code.UNAUTHENTICATED
        assert call.error["code"] == 401
        assert len(door.forwarder.passed) == 1

    @pytest.mark.parametrize("path", [b"/auth.Auth/Token", b"/store.Debug/Health"])
    async def test_a_bad_token_does_not_keep_from_login_and_health(self, door: Door, path: bytes) -> None:
        door.guard.denied = {("auth", "Auth.Token"), ("store", "Debug.Health")}
        door.knock(path, authorization="Bearer broken")
        assert len(door.forwarder.passed) == 1

    async def test_the_namespace_is_the_header_else_the_issuer_else_micro(self, door: Door) -> None:
        door.knock(ORDER, authorization="Bearer other.eve", micro_namespace="shop")
        assert door.guard.asked.pop() == ("eve", "shop", "orders", "Orders.Place")
        door.knock(ORDER, **SHOP)
        assert door.guard.asked.pop() == ("ann", "shop", "orders", "Orders.Place")
        door.knock(ORDER)
        assert door.guard.asked.pop() == (None, "micro", "orders", "Orders.Place")

    @pytest.mark.parametrize("name", ["../x", "a/b", "é", "a" * 64, "*"])
    async def test_an_odd_namespace_is_refused(self, door: Door, name: str) -> None:
        call = door.knock(ORDER, **SHOP, micro_namespace=name)
        assert call.end[0] == Code.INVALID_ARGUMENT
        assert not door.forwarder.passed

    async def test_the_platforms_services_are_called_in_its_namespace(self, door: Door) -> None:
        door.knock(b"/store.Store/Read", **SHOP, micro_namespace="micro")
        assert door.guard.asked == [("ann", "micro", "store", "Store.Read")]
        assert door.forwarder.passed[0][1] == "h:2"

    async def test_the_platforms_services_are_in_micro_alone(self, door: Door) -> None:
        call = await door.wait(b"/store.Store/Read", **SHOP)
        assert call.error == {
            "id": "go.micro.client",
            "code": 500,
            "detail": "service store: route not found",
            "status": "Internal Server Error",
        }

    async def test_what_the_guard_refuses_is_refused_in_its_words(self, door: Door) -> None:
        door.guard.denied = {("orders", "Orders.Place")}
        call = door.knock(ORDER, **SHOP)
        assert call.end[0] == Code.PERMISSION_DENIED
        assert call.error == {"id": "orders", "code": 403, "detail": "a rule", "status": "Forbidden"}
        call = door.knock(ORDER, micro_namespace="shop")
        assert call.end[0] == Code.UNAUTHENTICATED
        assert (call.error["id"], call.error["code"]) == ("orders", 401)
        assert not door.forwarder.passed

    async def test_of_two_tokens_and_namespaces_only_what_was_judged_goes_on(self, door: Door) -> None:
        call = Call(ORDER, [
            (b"authorization", b"Bearer shop.ann"), (b"authorization", b"Bearer micro.admin"),
            (b"micro-namespace", b"shop"), (b"micro-namespace", b"micro"),
        ])  # fmt: skip
        door.dispatcher.open(call)
        assert door.sent[b"authorization"] == b"Bearer shop.ann"
        assert door.sent[b"micro-namespace"] == b"shop"


class TestHeaders:
    async def test_a_stranger_does_not_say_who_else_is_calling(self, door: Door) -> None:
        door.knock(ORDER, **SHOP, micro_on_behalf_of="Bearer micro.admin", remote="127.0.0.1:1")
        assert b"micro-on-behalf-of" not in door.sent
        assert door.sent[b"remote"] == b"10.0.0.9:5000"

    async def test_inside_it_is_passed_on(self, inside: Door) -> None:
        inside.knock(ORDER, **SHOP, micro_on_behalf_of="Bearer shop.bob", remote="10.1.1.1:1")
        assert inside.sent[b"micro-on-behalf-of"] == b"Bearer shop.bob"
        assert inside.sent[b"remote"] == b"10.1.1.1:1"
        inside.knock(ORDER, **SHOP)
        assert inside.sent[b"remote"] == b"10.0.0.9:5000"

    async def test_headers_are_counted_at_the_edge(self, door: Door, inside: Door) -> None:
        big = {"x_big": "v" * limits.METADATA_EDGE}
        call = door.knock(ORDER, **SHOP, **big)
        assert call.end[0] == Code.RESOURCE_EXHAUSTED
        assert not door.forwarder.passed
        inside.knock(ORDER, **SHOP, **big)
        assert len(inside.forwarder.passed) == 1

    async def test_the_wires_timeout_is_kept_and_not_passed_on(self, door: Door) -> None:
        before = time.monotonic()
        call = door.knock(ORDER, **SHOP, timeout="2000000000")
        assert 1.9 < call.deadline - before < 2.2
        assert b"timeout" not in door.sent
        for odd in ("-1", "x", "", "9" * 30):
            assert door.knock(ORDER, **SHOP, timeout=odd).deadline is None

    async def test_what_belongs_to_the_connection_stays(self, door: Door) -> None:
        door.knock(ORDER, **SHOP, te="trailers", user_agent="x", host="h", content_length="3", x_content_type="a/b")
        trace = {b"micro-trace-id", b"micro-span-id", b"traceparent"}
        assert door.sent.keys() - trace == {b"authorization", b"micro-namespace", b"remote", b"x-content-type"}

    async def test_a_call_in_a_trace_goes_on_in_it(self, door: Door) -> None:
        door.knock(ORDER, **SHOP, micro_trace_id="t", micro_span_id="s", traceparent="as it came")
        told = [door.sent[name] for name in (b"micro-trace-id", b"micro-span-id", b"traceparent")]
        assert told == [b"t", b"s", b"as it came"]

    async def test_a_trace_told_by_w3c_alone_is_told_by_the_wires_own_keys_too(self, door: Door) -> None:
        said = f"00-{'a' * 32}-{'b' * 16}-00"
        door.knock(ORDER, **SHOP, traceparent=said)
        assert door.sent[b"traceparent"] == said.encode()
        assert (door.sent[b"micro-trace-id"], door.sent[b"micro-span-id"]) == (b"a" * 32, b"b" * 16)

    async def test_a_call_in_no_trace_begins_one(self, door: Door) -> None:
        for said in ({}, {"traceparent": "nonsense"}, {"micro_span_id": "s"}):
            door.knock(ORDER, **SHOP, **said)
            trace, span = door.sent[b"micro-trace-id"], door.sent[b"micro-span-id"]
            assert door.sent[b"traceparent"] == b"00-%b-%b-01" % (trace, span)


class TestWords:
    def words(self, door: Door, path: bytes) -> tuple[int, str, bytes]:
        call = door.knock(path, **SHOP)
        return door.dispatcher.words(call, Code.DEADLINE_EXCEEDED, "deadline exceeded")

    async def test_a_deadline_that_passes_on_the_way_is_the_doors_error(self, door: Door) -> None:
        code, message, details = self.words(door, ORDER)
        error = {"id": "proxy", "code": 408, "detail": "deadline exceeded", "status": "Request Timeout"}
        assert (code, json.loads(message)) == (Code.DEADLINE_EXCEEDED, error)
        assert details

    async def test_its_own_services_have_their_own(self, door: Door) -> None:
        assert self.words(door, b"/proxy.Debug/Health")[1] == "own: deadline exceeded"


class TestWaiting:
    async def test_keys_and_rules_that_are_not_here_are_fetched(self, door: Door) -> None:
        door.guard.ready = False
        await door.wait(ORDER, **SHOP)
        assert door.guard.prepared == [(b"Bearer shop.ann", "micro")]
        assert door.sent[b"micro-namespace"] == b"shop"

    async def test_a_guard_that_is_never_ready_is_an_error(self, door: Door) -> None:
        async def nothing(authorization: bytes | None, namespace: str) -> None: ...

        door.guard.ready, door.guard.prepare = False, nothing
        call = await door.wait(ORDER, **SHOP)
        assert call.end[0] == Code.UNAVAILABLE

    async def test_a_route_that_was_not_told_is_asked_for(self, door: Door) -> None:
        await door.wait(b"/new.New/Call", **SHOP)
        assert door.forwarder.passed[0][1] == "h:4"

    async def test_nobodys_route_has_the_originals_words(self, door: Door) -> None:
        call = await door.wait(b"/nobody.A/B", **SHOP)
        assert call.end[0] == Code.INTERNAL
        error = {"id": "go.micro.client", "code": 500, "detail": "service nobody: route not found"}
        assert {key: call.error[key] for key in error} == error

    async def test_a_registry_that_is_away_is_unavailable(self, door: Door) -> None:
        door.routes.failure = Unavailable("connection refused")
        assert (await door.wait(b"/new.New/Call", **SHOP)).end[0] == Code.UNAVAILABLE

    async def test_a_caller_who_left_meanwhile_is_not_passed_on(self, door: Door) -> None:
        call = door.knock(b"/new.New/Call", **SHOP)
        call.cancelled = True
        await asyncio.gather(*door.dispatcher._waiting)
        assert not door.forwarder.passed

    async def test_whatever_breaks_is_answered(self, door: Door) -> None:
        door.routes.failure = ZeroDivisionError("secret")
        call = await door.wait(b"/new.New/Call", **SHOP)
        assert call.end[0] == Code.INTERNAL
        assert "secret" not in call.end[1]


class TestExchange:
    class Auth:
        """Answers Auth.Exchange, as the caller would."""

        def __init__(self) -> None:
            self.asked = []
            self.failure = None
            self.life = 600.0

        async def call(self, service, endpoint, request, response, **options):
            assert (service, endpoint, request.audience) == ("auth", "Auth.Exchange", "services")
            self.asked.append(request.token)
            await asyncio.sleep(0)
            if self.failure:
                raise self.failure
            token = auth_pb2.Token(access_token=f"weak-{request.token}", expiry=int(time.time() + self.life))
            return auth_pb2.ExchangeResponse(token=token)

    @pytest.fixture
    def auth(self) -> "TestExchange.Auth":
        return self.Auth()

    @pytest.fixture
    def door(self, auth: "TestExchange.Auth") -> Door:
        return Door(exchange=Exchange(auth))

    async def test_a_user_service_gets_a_token_the_platform_does_not_take(self, door: Door, auth: Auth) -> None:
        await door.wait(ORDER, **SHOP)
        assert door.sent[b"authorization"] == b"Bearer weak-shop.ann"
        door.knock(ORDER, **SHOP)  # and now at once
        assert door.sent[b"authorization"] == b"Bearer weak-shop.ann"
        assert len(door.forwarder.passed) == 2
        assert auth.asked == ["shop.ann"]

    async def test_the_platform_gets_the_token_itself(self, door: Door, auth: Auth) -> None:
        door.knock(b"/store.Store/Read", **SHOP, micro_namespace="micro")
        assert door.sent[b"authorization"] == b"Bearer shop.ann"
        assert not auth.asked

    async def test_who_shows_none_needs_none(self, door: Door, auth: Auth) -> None:
        door.knock(ORDER, micro_namespace="shop")
        assert b"authorization" not in door.sent
        assert not auth.asked

    async def test_many_calls_at_once_ask_once(self, door: Door, auth: Auth) -> None:
        calls = [door.knock(ORDER, **SHOP) for _ in range(50)]
        await asyncio.gather(*(asyncio.wait_for(call.over.wait(), 5) for call in calls))
        assert len(door.forwarder.passed) == 50
        assert auth.asked == ["shop.ann"]

    async def test_a_token_that_auth_refuses_is_refused(self, door: Door, auth: Auth) -> None:
        auth.failure = Unauthenticated("invalid token provided")
        assert (await door.wait(ORDER, **SHOP)).end[0] == Code.UNAUTHENTICATED
        auth.failure = Unavailable("away")
        assert (await door.wait(ORDER, **SHOP)).end[0] == Code.UNAVAILABLE

    async def test_an_auth_service_that_knows_no_exchange_is_done_without(self, door: Door, auth: Auth) -> None:
        auth.failure = Unimplemented("unknown service Auth.Exchange")
        await door.wait(ORDER, **SHOP)
        assert door.sent[b"authorization"] == b"Bearer shop.ann"
        door.knock(ORDER, **SHOP)
        assert len(auth.asked) == 1

    async def test_an_ending_token_is_exchanged_anew(self, door: Door, auth: Auth, monkeypatch) -> None:
        await door.wait(ORDER, **SHOP)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 575)
        door.forwarder.passed.clear()
        await door.wait(ORDER, **SHOP)
        assert len(auth.asked) == 2


class TestBalance:
    def test_the_least_busy_gets_the_call(self) -> None:
        balance = Balance()
        targets = [Target(f"h:{n}") for n in range(4)]
        picked = [balance.pick(targets) for _ in range(8)]
        assert sorted(load.address for load in picked) == sorted([f"h:{n}" for n in range(4)] * 2)
        picked[3].done(0)
        assert balance.pick(targets) is picked[3]

    def test_who_cannot_be_reached_rests_and_comes_back(self, monkeypatch) -> None:
        balance = Balance()
        targets = [Target("h:1"), Target("h:2")]
        first = balance.pick(targets)
        first.done(Code.UNAVAILABLE)
        for _ in range(10):
            other = balance.pick(targets)
            assert other is not first
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 2)
        assert balance.pick(targets) is first

    def test_when_all_rest_one_is_tried(self) -> None:
        balance = Balance()
        targets = [Target("h:1"), Target("h:2")]
        for _ in range(2):
            balance.pick(targets).done(Code.UNAVAILABLE)
        assert balance.pick(targets).address in {"h:1", "h:2"}

    def test_nodes_that_went_are_forgotten(self) -> None:
        balance = Balance()
        for n in range(10_000):
            balance.pick([Target(f"h:{n}")]).done(0)
        assert len(balance._loads) <= 4097


async def test_a_resolver_says_missing_in_the_wires_words() -> None:
    with pytest.raises(NotFound, match=r"^service nobody: route not found$"):
        await Known().find("nobody", "shop")
