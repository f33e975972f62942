"""The service keeps to the original's wire, and to its callers' rights."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from micro.config import tree
from micro.config.api import Config
from micro.config.memory import MemoryConfig
from micro.config.sealed import Sealed
from micro.config.service import ConfigHandler
from micro.context import Account
from micro.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from micro.proto import config_pb2 as pb
from micro.rpc.caller import Caller
from micro.testing.served import PLATFORM, Served


@pytest.fixture
async def served() -> AsyncIterator[Config]:
    async with Config(Sealed(MemoryConfig(), bytes(32)), plugin="memory") as config:
        yield config


@pytest.fixture
async def world(served: Config) -> AsyncIterator[Served]:
    async with Served() as world:
        await world.serve("config", [("Config", ConfigHandler(served))])
        yield world


@pytest.fixture
def wire(world: Served) -> Caller:
    return world.caller(PLATFORM)


async def get(wire: Caller, path: str, **options: Any) -> str:
    request = pb.GetRequest(path=path, options=pb.Options(**options))
    answer = await wire.call("config", "Config.Get", request, pb.GetResponse)
    assert answer.HasField("value")  # Go clients read through it unchecked
    assert answer.value.format == ""
    return answer.value.data


async def put(wire: Caller, path: str, data: str, **options: Any) -> None:
    request = pb.SetRequest(path=path, value=pb.Value(data=data), options=pb.Options(**options))
    await wire.call("config", "Config.Set", request, pb.SetResponse)


async def test_a_namespace_never_written_is_not_found_and_a_missing_path_is_null(wire: Caller) -> None:
    with pytest.raises(NotFound, match=r"^Not found$"):
        await get(wire, "a")
    with pytest.raises(NotFound, match=r"^Not found$"):
        await wire.call("config", "Config.Delete", pb.DeleteRequest(path="a"), pb.DeleteResponse)
    await put(wire, "a.b", "5")
    assert await get(wire, "a.c") == "null"
    assert await get(wire, "a.b") == "5"
    assert await get(wire, "") == '{"a": {"b": 5}}'
    await wire.call("config", "Config.Delete", pb.DeleteRequest(path="a.c"), pb.DeleteResponse)


async def test_the_namespace_defaults_to_micro(wire: Caller, served: Config) -> None:
    await put(wire, "a", '"hello"')
    assert await served.at("micro").get("a") == "hello"


@pytest.mark.parametrize(
    "data", ["", "{", "NaN", "Infinity", "[1,]", '{"a":1,"a":2}', '{"x":{"a":1,"a":1}}', "[" * 100_000], ids=range(8)
)
async def test_invalid_json_is_refused(wire: Caller, data: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Request is invalid JSON: "):
        await put(wire, "a", data)


async def test_a_set_without_a_value_is_refused(wire: Caller) -> None:
    for endpoint, request, response in (
        ("Config.Set", pb.SetRequest(path="a"), pb.SetResponse),
        ("Config.Put", pb.PutRequest(path="a"), pb.PutResponse),
    ):
        with pytest.raises(InvalidArgument, match=r"^invalid change$"):
            await wire.call("config", endpoint, request, response)


async def test_the_old_read_masks_secrets(wire: Caller) -> None:
    await put(wire, "a", '{"b": 1}')
    await put(wire, "a.p", '"s3cret"', secret=True)
    answer = await wire.call("config", "Config.Read", pb.ReadRequest(path="a"), pb.ReadResponse)
    assert answer.change.changeSet.data == '{"b": 1, "p": "[secret]"}'
    assert (answer.change.changeSet.format, answer.change.namespace) == ("json", "micro")
    assert await get(wire, "a.p") == '"[secret]"'
    assert await get(wire, "a.p", secret=True) == '"s3cret"'


CALLS: list[tuple[str, Any, Any]] = [
    ("Config.Get", pb.GetRequest(namespace="mine", path="a"), pb.GetResponse),
    ("Config.Set", pb.SetRequest(namespace="mine", path="b", value=pb.Value(data="1")), pb.SetResponse),
    ("Config.Read", pb.ReadRequest(namespace="mine", path="a"), pb.ReadResponse),
    ("Config.Delete", pb.DeleteRequest(namespace="mine", path="x"), pb.DeleteResponse),
    ("Config.Put", pb.PutRequest(namespace="mine", path="b", value=pb.Value(data="1")), pb.PutResponse),
    ("Config.History", pb.HistoryRequest(namespace="mine", path="a"), pb.HistoryResponse),
    ("Config.Rollback", pb.RollbackRequest(namespace="mine", path="a", version=1), pb.RollbackResponse),
    ("Config.Watch", pb.WatchRequest(namespace="mine", path="a"), pb.WatchResponse),
]


@pytest.mark.parametrize(("endpoint", "request_", "response"), CALLS, ids=[call[0] for call in CALLS])
async def test_a_namespace_is_its_admins_alone(
    world: Served, served: Config, endpoint: str, request_: Any, response: Any
) -> None:
    await served.at("mine").set("a", 1)

    async def call(account: Account | None) -> Any:
        caller = world.caller(account)
        if endpoint != "Config.Watch":
            return await caller.call("config", endpoint, request_, response)
        async with aclosing(caller.serve_stream("config", endpoint, request_, response)) as answers:
            return await anext(answers)

    for issuer in ("mine", "micro"):
        await call(Account("ann", issuer=issuer, scopes=("admin",)))
    for account, error in (
        (None, Unauthenticated),
        (Account("bob", issuer="mine"), Unauthenticated),
        (Account("eve", issuer="other", scopes=("admin",)), PermissionDenied),
        (Account("eve", issuer="min", scopes=("admin",)), PermissionDenied),
    ):
        with pytest.raises(error):
            await call(account)


class Host:
    """What the service's build asks of its process."""

    def __init__(self, data: Path, settings: dict[str, Any]) -> None:
        self.data = data
        self.settings = settings

    def setting(self, primitive: str, key: str, default: Any) -> Any:
        assert primitive == "config"
        return self.settings.get(key, default)

    def driver(self, primitive: str) -> tuple[MemoryConfig, str]:
        assert primitive == "config"
        return MemoryConfig(), "memory"


async def test_the_service_seals_with_the_key_in_the_data_folder(tmp_path: Path) -> None:
    from micro.config.service import build

    for settings in ({}, {"secret_key": base64.b64encode(bytes(32)).decode()}):
        host: Any = Host(tmp_path / str(len(settings)), settings)
        host.data.mkdir()
        core = await build(host)
        assert core.plugin == "memory"
        assert "secrets" in core.capabilities()
        assert (host.data / "secret.key").exists() == (not settings)
        assert core.close is not None
        await core.close()


def test_paths_read_what_they_write() -> None:
    for path in [(), ("a",), ("a", "b"), ("a.b", "c\\d"), ("\\.", "..", " ")]:
        assert tree.parse(tree.show(path)) == path
