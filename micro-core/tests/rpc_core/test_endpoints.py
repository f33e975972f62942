"""What of a handler is an endpoint, and what is refused when it is declared."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from micro.context import Context
from micro.proto import broker_pb2
from micro.rpc.endpoint import camel, collect, endpoint, of_function


@dataclass
class Order:
    id: str


class Base:
    async def inherited(self) -> None:
        pass


class Orders(Base):
    """Takes orders."""

    limit = 3

    async def place(self, order: Order) -> Order:
        """Take one.

        And more.
        """

    def say_hello(self, name: str) -> str: ...

    @endpoint(name="Odd", idempotent=True, metadata={"method": "POST", "path": "/odd"})
    async def marked(self, context: Context) -> None: ...

    @endpoint
    async def bare(self, order: Order, *, context: Context) -> AsyncIterator[Order]: ...

    async def both(self, orders: AsyncIterator[Order]) -> AsyncIterator[broker_pb2.Message | None]: ...

    def slow(self, orders: Iterator[Order]) -> Iterator[Order]: ...

    @staticmethod
    async def still() -> int: ...

    @property
    def total(self) -> int:
        raise AssertionError("a property is not looked at")

    async def _private(self) -> None: ...


def by_name(obj, name=None):
    return {one.method: one for one in collect(obj, name)}


def test_public_methods_are_endpoints_named_in_camel_case():
    found = by_name(Orders())
    assert set(found) == {"Inherited", "Place", "SayHello", "Odd", "Bare", "Both", "Slow", "Still"}
    assert found["Place"].name == "Orders.Place"
    assert found["Place"].doc == "Take one.\n\nAnd more."
    assert by_name(Orders(), "Shop")["Place"].name == "Shop.Place"


def test_what_streams_and_what_blocks_is_read_from_the_annotations():
    found = by_name(Orders())
    kinds = {name: (one.client_streaming, one.server_streaming, one.blocking) for name, one in found.items()}
    assert kinds["Place"] == (False, False, False)
    assert kinds["SayHello"] == (False, False, True)
    assert kinds["Bare"] == (False, True, False)
    assert kinds["Both"] == (True, True, False)
    assert kinds["Slow"] == (True, True, True)
    assert found["Both"].empty_items
    assert found["Both"].response.python_type is broker_pb2.Message


def test_options_are_kept():
    odd = by_name(Orders())["Odd"]
    assert (odd.idempotent, odd.public, odd.metadata["path"]) == (True, False, "/odd")
    assert (odd.request_name, odd.context_name) == ("", "context")


def test_names_become_camel_case():
    assert [camel(name) for name in ("say_hello", "foo-bar", "v1.foo", "already")] == [
        "SayHello", "FooBar", "V1Foo", "Already",
    ]  # fmt: skip


def test_a_bare_function_belongs_to_a_handler_it_is_given():
    async def ping() -> str: ...

    assert of_function(ping, "FooBar").name == "FooBar.Ping"


class NoAnnotation:
    async def go(self, order) -> None: ...


class NoResult:
    async def go(self, order: Order): ...


class TwoMessages:
    async def go(self, order: Order, other: Order) -> None: ...


class Many:
    async def go(self, *orders: Order) -> None: ...


class CannotTravel:
    async def go(self, order: asyncio.Event) -> None: ...


class CannotReturn:
    async def go(self) -> complex: ...


class Unknown:
    async def go(self, order: "Nowhere") -> None: ...  # noqa: F821


class Twins:
    async def say_hello(self) -> None: ...

    async def sayHello(self) -> None: ...


class Empty:
    pass


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (NoAnnotation(), r"NoAnnotation\.go: parameter 'order' has no annotation"),
        (NoResult(), r"NoResult\.go: its result has no annotation"),
        (TwoMessages(), r"TwoMessages\.go: takes one message, not both 'order' and 'other'"),
        (Many(), r"Many\.go: parameter 'orders'.*not any number"),
        (CannotTravel(), r"CannotTravel\.go: parameter 'order'.*Event cannot travel"),
        (CannotReturn(), r"CannotReturn\.go: its result.*complex cannot travel"),
        (Unknown(), r"Unknown\.go: an annotation names 'Nowhere'"),
        (Twins(), r"Twins: two methods are both the endpoint Twins\.SayHello"),
        (Empty(), r"Empty has no public methods"),
        (Orders, r"Orders is a class: give an instance"),
    ],
)
def test_what_cannot_be_called_is_refused_by_name(handler, words):
    with pytest.raises(TypeError, match=words):
        collect(handler)
