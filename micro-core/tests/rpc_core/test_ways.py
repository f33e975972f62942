"""Finding nodes, choosing among them, trying again."""

import asyncio
from dataclasses import dataclass, field

import pytest

from micro.errors import Code, DeadlineExceeded, NotFound, PermissionDenied, Unauthenticated, Unavailable
from micro.rpc import retry
from micro.rpc.balance import Balancer, Target
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.driver import Status
from micro.rpc.endpoint import endpoint
from micro.rpc.pool import Pool, dialled, encrypted
from micro.rpc.resolve import AddressBook, ByRegistry, ViaProxy
from micro.rpc.stats import Stats


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures=0, error=Unavailable):
        self.failures = failures
        self.error = error
        self.calls = 0

    @endpoint(idempotent=True)
    async def go(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error("not now")
        return self.calls

    async def hold(self) -> None:
        await asyncio.sleep(30)


@dataclass
class Node:
    id: str
    address: str
    metadata: dict = field(default_factory=lambda: {"interface": "1"})


@dataclass
class Said:
    name: str
    metadata: dict = field(default_factory=dict)


@dataclass
class Record:
    nodes: list
    endpoints: list = field(default_factory=list)


class Directory:
    def __init__(self, *records):
        self.records = list(records)
        self.closed = False

    def get(self, name):
        return self.records

    async def close(self):
        self.closed = True


async def test_what_may_be_repeated_is_and_what_may_not_is_not(world):
    flaky = Flaky(2)
    await world.serve("flaky", flaky)
    with pytest.raises(Unavailable):
        await world.caller().call("flaky", "Flaky.Go", None, int)
    assert flaky.calls == 1
    assert await world.caller().call("flaky", "Flaky.Go", None, int, idempotent=True) == 3


async def test_three_times_and_no_more(world):
    flaky = Flaky(9)
    await world.serve("flaky", flaky)
    with pytest.raises(Unavailable, match="not now"):
        await world.caller().call("flaky", "Flaky.Go", None, int, idempotent=True)
    assert flaky.calls == 3


async def test_the_registry_says_what_may_be_repeated(world):
    flaky = Flaky(1)
    await world.serve("flaky", flaky)
    said = Said("Flaky.Go", {"idempotent": "true"})
    directory = Directory(Record([Node("1", world.addresses["flaky"])], [said]))

    async def follow(namespace, service):
        return directory

    caller = world.caller(resolver=ByRegistry(follow))
    assert await caller.call("flaky", "Flaky.Go", None, int) == 2
    await caller.close()
    assert directory.closed


class Registry:
    """What who is outside asks; notes what it is asked."""

    def __init__(self, *records):
        self.records = list(records)
        self.asked = []

    async def __call__(self, domain, service):
        self.asked.append((domain, service))
        await asyncio.sleep(0.01)
        if not self.records:
            raise PermissionDenied("not yours")
        return self.records


def outside(world, registry):
    return world.caller(resolver=ViaProxy(world.addresses["flaky"], ask=registry))


async def test_outside_the_registry_is_asked_when_a_call_has_failed_and_then_for_a_while_no_more(world):
    flaky = Flaky(2)
    await world.serve("flaky", flaky)
    registry = Registry(Record([], [Said("Flaky.Go", {"idempotent": "true"})]))
    caller = outside(world, registry)
    assert await caller.call("flaky", "Flaky.Go", None, int) == 3
    assert await caller.call("flaky", "Flaky.Go", None, int) == 4
    assert registry.asked == [("shop", "flaky")]
    flaky.failures = 1000
    with pytest.raises(Unavailable):
        await caller.call("flaky", "Flaky.Go", None, int, retries=0)
    assert flaky.calls == 5
    with pytest.raises(Unavailable):
        await caller.call("flaky", "Flaky.Go", None, int, retries=4)
    assert flaky.calls == 10
    assert registry.asked == [("shop", "flaky")]


@pytest.mark.parametrize("records", [[Record([], [Said("Flaky.Go")])], [Record([])], []])
async def test_outside_what_nobody_says_may_be_repeated_is_not(world, records):
    flaky = Flaky(1000)
    await world.serve("flaky", flaky)
    caller = outside(world, Registry(*records))
    with pytest.raises(Unavailable, match="not now"):
        await caller.call("flaky", "Flaky.Go", None, int, retries=5)
    assert flaky.calls == 1


async def test_outside_calls_that_fail_at_once_ask_once_and_other_errors_ask_nothing(world):
    flaky = Flaky(20)
    await world.serve("flaky", flaky)
    registry = Registry(Record([], [Said("Flaky.Go", {"idempotent": "true"})]))
    caller = outside(world, registry)
    calls = [caller.call("flaky", "Flaky.Go", None, int) for _ in range(10)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(registry.asked) == 1
    other = Registry()
    flaky.calls, flaky.error = 0, NotFound
    with pytest.raises(NotFound):
        await outside(world, other).call("flaky", "Flaky.Go", None, int)
    assert not other.asked


async def test_outside_a_registry_that_does_not_answer_costs_the_call_no_more_than_its_time(world):
    await world.serve("flaky", Flaky(9))

    async def ask(domain, service):
        await asyncio.sleep(30)

    caller = outside(world, ask)
    with pytest.raises(Unavailable, match="not now"):
        await caller.call("flaky", "Flaky.Go", None, int, timeout=0.2)


async def test_a_node_that_is_gone_is_passed_over_whatever_the_call(world):
    flaky = Flaky()
    await world.serve("flaky", flaky)
    nodes = [Node("1", "gone:1"), Node("2", world.addresses["flaky"])]
    directory = Directory(Record(nodes))

    async def follow(namespace, service):
        return directory

    caller = world.caller(resolver=ByRegistry(follow))
    for number in range(1, 20):
        assert await caller.call("flaky", "Flaky.Go", None, int) == number


async def test_a_node_that_comes_or_goes_is_seen(world):
    await world.serve("flaky", Flaky())
    directory = Directory()

    async def follow(namespace, service):
        return directory

    caller = world.caller(resolver=ByRegistry(follow))
    with pytest.raises(NotFound, match="service flaky: route not found"):
        await caller.call("flaky", "Flaky.Go", None, int)
    directory.records = [Record([Node("1", world.addresses["flaky"])])]
    assert await caller.call("flaky", "Flaky.Go", None, int) == 1


async def test_those_who_ask_at_once_are_told_by_one_look_and_names_of_nobody_are_not_followed(world):
    await world.serve("flaky", Flaky())
    directories = []

    async def follow(namespace, service):
        await asyncio.sleep(0.01)
        nodes = [Node("1", world.addresses[service])] if service in world.addresses else []
        directories.append(Directory(*([Record(nodes)] if nodes else [])))
        return directories[-1]

    caller = world.caller(resolver=ByRegistry(follow))
    await asyncio.gather(*(caller.call("flaky", "Flaky.Go", None, int) for _ in range(10)))
    assert len(directories) == 1
    with pytest.raises(NotFound):
        await caller.call("nobody", "Flaky.Go", None, int)
    assert directories[-1].closed
    assert not directories[0].closed


async def test_nobody_at_the_proxy_is_said_in_its_own_words_at_once(world):
    caller = world.caller(resolver=ViaProxy("nobody:1", hint="no micro server at nobody:1"))
    with pytest.raises(Unavailable, match=r"^no micro server at nobody:1$") as caught:
        await caller.call("store", "Store.Read", None, dict)
    assert caught.value.id == "micro.client"
    with pytest.raises(Unavailable):
        await caller.stream("store", "Store.Watch", dict, dict)


class Refusing:
    """A transport that refuses the first streams unseen, as a proxy does whose node refused them."""

    def __init__(self, transport, times):
        self.transport = transport
        self.times = times

    def channel(self, address, **options):
        channel = self.transport.channel(address, **options)
        unary = channel.unary

        async def refusing(*args, **kwargs):
            if self.times:
                self.times -= 1
                raise Status(Code.UNAVAILABLE, "the peer reset the stream (HTTP/2 error 7)", processed=False)
            return await unary(*args, **kwargs)

        channel.unary = refusing
        return channel


async def test_a_call_that_was_refused_unseen_goes_once_more_whatever_the_call(world):
    flaky = Flaky()
    await world.serve("flaky", flaky)
    refusing = Refusing(world.transport, 1)
    resolver = ViaProxy(world.addresses["flaky"], hint="no micro server")
    caller = RpcCaller(transport=refusing, resolver=resolver, credentials=FixedToken("ann"), stats=Stats())
    assert await caller.call("flaky", "Flaky.Go", None, int, retries=0) == 1
    refusing.times = 2
    with pytest.raises(Unavailable, match="the peer reset the stream"):  # who is there is not said to be away
        await caller.call("flaky", "Flaky.Go", None, int, retries=0)
    await caller.close()


async def test_another_node_is_no_retry(world):
    await world.serve("flaky", Flaky())
    nodes = [Node(str(n), f"gone:{n}") for n in range(4)] + [Node("4", world.addresses["flaky"])]
    directory = Directory(Record(nodes))

    async def follow(namespace, service):
        return directory

    for number in range(1, 6):
        caller = world.caller(resolver=ByRegistry(follow))
        assert await caller.call("flaky", "Flaky.Go", None, int, retries=0) == number


async def test_an_address_given_is_where_the_call_goes(world):
    flaky = Flaky()
    await world.serve("flaky", flaky)
    caller = world.caller(resolver=AddressBook({}))
    assert await caller.call("flaky", "Flaky.Go", None, int, address=world.addresses["flaky"]) == 1


async def test_no_time_left_is_not_even_sent(world):
    flaky = Flaky()
    await world.serve("flaky", flaky)
    with pytest.raises(DeadlineExceeded, match=r"flaky\.Flaky\.Go: no time was left"):
        await world.caller().call("flaky", "Flaky.Go", None, int, timeout=0)
    assert flaky.calls == 0


async def test_looking_a_service_up_counts_against_the_calls_time(world):
    async def follow(namespace, service):
        await asyncio.sleep(30)

    caller = world.caller(resolver=ByRegistry(follow))
    with pytest.raises(DeadlineExceeded, match="flaky was not found in time"):
        await caller.call("flaky", "Flaky.Go", None, int, timeout=0.1)


class Renewing(FixedToken):
    def __init__(self):
        super().__init__("bad", namespace="shop")
        self.fetched = 0

    async def prepare(self):
        self.fetched += 1
        self.set("ann")

    def refused(self, header):
        return True


async def test_a_refused_token_is_had_anew_once(world, tokens):
    await world.serve("flaky", Flaky(), guard=tokens)
    credentials = Renewing()
    caller = RpcCaller(
        transport=world.transport, resolver=AddressBook(world.addresses), credentials=credentials, stats=Stats()
    )
    assert await caller.call("flaky", "Flaky.Go", None, int) == 1
    assert credentials.fetched == 1
    credentials.set("bad")
    credentials.prepare = lambda: asyncio.sleep(0)
    with pytest.raises(Unauthenticated):
        await caller.call("flaky", "Flaky.Go", None, int)


async def test_the_least_busy_gets_the_call_and_ties_go_round(world):
    balancer = Balancer(Pool(world.transport))
    targets = [Target(f"node:{number}") for number in range(3)]
    assert {balancer.pick(targets)[0].address for _ in range(3)} == {"node:0", "node:1", "node:2"}
    for target in targets[:2]:
        balancer.pick([target])[1].outstanding = 5
    assert {balancer.pick(targets)[0].address for _ in range(6)} == {"node:2"}


async def test_who_cannot_be_reached_rests_unless_it_were_over_half(world):
    balancer = Balancer(Pool(world.transport))
    targets = [Target(f"node:{number}") for number in range(3)]
    balancer.failed(targets[0])
    assert {balancer.pick(targets)[0].address for _ in range(9)} == {"node:1", "node:2"}
    balancer.failed(targets[1])
    assert {balancer.pick(targets)[0].address for _ in range(9)} == {"node:0", "node:1", "node:2"}
    balancer.reached(targets[0])
    assert {balancer.pick(targets)[0].address for _ in range(9)} == {"node:0", "node:2"}


def test_retries_have_a_budget():
    budget = retry.Budget()
    spent = 0
    while budget.spend():
        spent += 1
    assert 10 <= spent <= 13
    for _ in range(20):
        budget.called()
    assert budget.spend()


def test_waits_grow_and_are_spread():
    waits = [[retry.wait(attempt) for _ in range(200)] for attempt in (2, 3)]
    assert max(waits[0]) <= 0.05 < max(waits[1]) <= 0.1


@pytest.mark.parametrize(
    ("address", "tls", "dial"),
    [
        ("127.0.0.1:8081", False, "127.0.0.1:8081"),
        ("example.com", True, "example.com:443"),
        ("example.com:443", True, "example.com:443"),
        ("https://example.com:8081", True, "example.com:8081"),
        ("[::1]:8081", False, "[::1]:8081"),
        ("[::1]", True, "[::1]:443"),
    ],
)
def test_an_address_says_whether_it_is_tls(address, tls, dial):
    assert (encrypted(address), dialled(address)) == (tls, dial)
