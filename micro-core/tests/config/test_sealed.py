"""Secrets can be neither read nor moved in what is stored, and damage is told."""

import base64
import json
import stat
from pathlib import Path

import pytest

from micro.config.api import Config
from micro.config.sealed import KEY, Sealed, file_key, read_key
from micro.config.store import StoreConfig
from micro.errors import ConfigError, DataLoss, FailedPrecondition, Unimplemented
from micro.store.api import Store
from micro.store.memory import MemoryStore


@pytest.fixture
def store() -> Store:
    return Store(MemoryStore(), plugin="memory", table="config")


async def sealed(store: Store, key: bytes = bytes(KEY)) -> Config:
    config = Config(Sealed(StoreConfig(store=store), key), plugin="store", namespace="mine")
    await config.open()
    return config


async def everything(store: Store) -> bytes:
    stored = b""
    for table in (store, store.table("config_history")):
        stored += b"".join([record.key.encode() + record.value async for record in table.scan()])
    return stored


async def test_nothing_stored_shows_a_secret(store: Store) -> None:
    config = await sealed(store)
    await config.set("a", {"password": "hunter2hunter2", "pins": [777123]}, secret=True)
    await config.set("a.password", "changed", secret=True)
    stored = await everything(store)
    for clear in (b"hunter2", b"777123", b"changed"):
        assert clear not in stored
    await config.set("open", "hunter2hunter2")
    assert b"hunter2" in await everything(store)


async def test_equal_secrets_look_different(store: Store) -> None:
    config = await sealed(store)
    await config.set("", {"a": "same", "b": "same"}, secret=True)
    raw = await Config(StoreConfig(store=store), namespace="mine").get("", secret=True)
    assert raw["a"] != raw["b"]


async def test_a_secret_put_elsewhere_does_not_open(store: Store) -> None:
    config = await sealed(store)
    inner = StoreConfig(store=store)
    await config.set("", {"a": "one", "b": "two"}, secret=True)
    texts = (await inner.get("mine", (), reveal=True)).value
    await inner.set("mine", (), {"a": texts["b"], "b": texts["a"]}, secret=True)
    for path in ("a", "b", ""):
        with pytest.raises(DataLoss, match="damaged, or was sealed for another place"):
            await config.get(path, secret=True)
    await inner.set("other", ("a",), texts["a"], secret=True)
    with pytest.raises(DataLoss):
        await config.at("other").get("a", secret=True)


@pytest.mark.parametrize("damage", ["", "x", "s1", "s1::", "s1:{id}:", "s1:{id}:AAAA", "s1:{id}:?", "s2:{id}:{body}"])
async def test_damaged_secrets_are_told(store: Store, damage: str) -> None:
    config = await sealed(store)
    await config.set("a", "one", secret=True)
    inner = StoreConfig(store=store)
    _, id, body = (await inner.get("mine", ("a",), reveal=True)).value.split(":")
    await inner.set("mine", ("a",), damage.format(id=id, body=body), secret=True)
    with pytest.raises(DataLoss, match="'a'"):
        await config.get("a", secret=True)
    assert await config.get("a") == "[secret]"


async def test_every_cut_and_flip_of_a_secret_is_told(store: Store) -> None:
    config = await sealed(store)
    await config.set("a", "one", secret=True)
    inner = StoreConfig(store=store)
    mark, id, body = (await inner.get("mine", ("a",), reveal=True)).value.split(":")
    raw = base64.b64decode(body)
    flipped = [bytes([*raw[:n], raw[n] ^ 1, *raw[n + 1 :]]) for n in range(len(raw))]
    for damaged in [*(raw[:n] for n in range(len(raw))), *flipped]:
        text = f"{mark}:{id}:{base64.b64encode(damaged).decode()}"
        await inner.set("mine", ("a",), text, secret=True)
        with pytest.raises(DataLoss):
            await config.get("a", secret=True)


async def test_another_key_refuses_to_start(store: Store) -> None:
    await sealed(store)
    with pytest.raises(FailedPrecondition, match=r"key is \w{8}, this data was sealed with \w{8}"):
        await sealed(store, bytes([1]) * KEY)


async def test_without_a_key_secrets_are_refused(store: Store) -> None:
    with pytest.raises(Unimplemented):
        await Config(StoreConfig(store=store)).set("a", "one", secret=True)


def test_the_key_file_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    key = file_key(file)
    assert len(key) == KEY
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file_key(file) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert read_key(file.read_text().strip()) == key
    file.write_text("short")
    with pytest.raises(ConfigError, match=r"secret\.key does not hold"):
        file_key(file)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(31)).decode()])
def test_a_key_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="secret_key") as caught:
        read_key(text)
    assert not text or text not in str(caught.value)


async def test_a_newer_document_is_refused_with_both_numbers(store: Store) -> None:
    config = await sealed(store)
    await config.set("a", 1)
    body = json.loads((await store.read("mine")).value)
    await store.write("mine", json.dumps(body | {"schema": 2}))
    with pytest.raises(FailedPrecondition, match=r"schema 2, .* up to 1"):
        await config.get("a")
    await store.write("mine", "garbage")
    with pytest.raises(DataLoss):
        await config.get("a")
