"""What follows changes, and what moves a configuration from one place to another."""

import json
import subprocess
from contextlib import contextmanager

import pytest

from micro.testing.platform import MICRO

pytestmark = pytest.mark.e2e


@contextmanager
def watching(platform, *argv):
    """Run a command that goes on; gives what reads its next line."""
    process = subprocess.Popen([MICRO, *argv], env=platform.env, stdout=subprocess.PIPE, text=True)
    try:
        yield lambda: process.stdout.readline().rstrip("\n")
    finally:
        process.kill()
        process.communicate(timeout=20)


def test_a_watch_of_the_store_prints_what_is_there_then_each_change(platform):
    platform.micro("store", "write", "watched/a", "one", "-t", "watch")
    platform.micro("store", "write", "other", "x", "-t", "watch")
    with (
        watching(platform, "store", "watch", "watched/", "-t", "watch") as plain,
        watching(platform, "store", "watch", "watched/", "-t", "watch", "-o", "json") as as_json,
    ):
        assert plain() == "PUT\twatched/a\tone"
        assert json.loads(as_json()) == {"kind": "PUT", "key": "watched/a", "value": "one"}
        platform.micro("store", "delete", "watched/a", "-t", "watch")
        platform.micro("store", "write", "watched/b", "two", "-t", "watch", "--expiry", "1s")
        assert [plain() for _ in range(3)] == ["DELETE\twatched/a", "PUT\twatched/b\ttwo", "EXPIRE\twatched/b"]
        assert json.loads(as_json()) == {"kind": "DELETE", "key": "watched/a"}


def test_a_table_is_moved_by_a_file(platform, tmp_path):
    file, table = str(tmp_path / "orders"), ("-t", "moved-from")
    for n in range(5):
        platform.micro("store", "write", f"order/{n}", f"value {n}", *table)
    platform.micro("store", "write", "other", "x", *table)
    records, version, digest = platform.micro("store", "snapshot", file, "-p", "order/", *table).split()
    assert (records, int(version) >= 6, len(digest)) == ("5", True, 64)
    assert platform.micro("store", "restore", file, "-t", "moved-to").split() == [records, version, digest]
    assert platform.micro("store", "read", "order/3", "-t", "moved-to") == "value 3\n"
    again = platform.micro("store", "restore", file, "-t", "moved-to", code=127)
    assert again.startswith("Table 'moved-to' of database 'micro' has records already; restore into an empty one")
    platform.micro("store", "write", "order/9", "late", "-t", "moved-to")
    found = json.loads(platform.micro("store", "restore", file, "-t", "moved-to", "--replace", "-o", "json"))
    assert found == [{"records": "5", "version": version, "sha256": digest}]
    assert platform.micro("store", "list", "-t", "moved-to").split() == [f"order/{n}" for n in range(5)]
    assert f"{file}.not" in platform.micro("store", "restore", f"{file}.not", code=1)
    assert "is not a snapshot of a table" in platform.micro("store", "restore", __file__, code=127)
    elsewhere = platform.micro("store", "snapshot", file, code=4, MICRO_DATA=str(tmp_path))
    assert elsewhere.startswith("Failed to connect to micro server")


def test_files_are_kept_under_keys(platform, tmp_path):
    file, copy = tmp_path / "file", tmp_path / "copy"
    file.write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    for key in ("images/a", "images/b"):
        assert platform.micro("blob", "put", key, str(file), "--content-type", "image/png", "--public") == ""
    platform.micro("blob", "put", "notes", "-", stdin="some text\n")
    assert platform.micro("blob", "get", "notes") == "some text\n"
    assert platform.micro("blob", "get", "images/a", str(copy)) == ""
    assert copy.read_bytes() == file.read_bytes()
    assert platform.micro("blob", "list").split() == ["images/a", "images/b", "notes"]
    shown = json.loads(platform.micro("blob", "list", "images/", "-o", "json"))
    known = [(one["key"], one["size"], one["type"], one["access"]) for one in shown]
    assert known == [(f"images/{key}", str(2**21), "image/png", "public") for key in "ab"]
    assert platform.micro("blob", "delete", "images/a") == ""
    assert platform.micro("blob", "list", "images/").split() == ["images/b"]
    assert platform.micro("--namespace", "elsewhere", "blob", "list") == ""
    for argv in (["delete", "images/a"], ["get", "images/a"], ["get", "images/a", str(tmp_path / "none")]):
        assert platform.micro("blob", *argv, code=1) == "Blob not found\n"
    assert not (tmp_path / "none").exists()
    refused = platform.micro("blob", "get", "notes", str(tmp_path / "no" / "folder"), code=1)
    assert refused.endswith("No such file or directory\n")


def test_a_watch_of_configuration_prints_each_value(platform):
    platform.micro("config", "set", "watched.text", "one")
    with watching(platform, "config", "watch", "watched.text") as following:
        assert following() == "one"
        platform.micro("config", "set", "watched.text", "2")
        assert following() == "2"
        platform.micro("config", "del", "watched.text")
        assert following() == "null"


def test_what_a_value_was_is_told_and_brought_back(platform):
    def there(*argv, **more):
        return platform.micro("--namespace", "past", *argv, **more)

    there("config", "set", "shop.currency", "EUR")
    there("config", "set", "shop", '{"currency": "USD", "taxes": [{"rate": 7}], "none": {}}')
    there("config", "set", "shop.key", "hush", "--secret")
    there("config", "del", "shop.currency")
    assert there("config", "history", "shop.currency") == '4\tnull\n2\t"USD"\n1\t"EUR"\n'
    assert there("config", "history", "shop.currency", "-n", "1") == "4\tnull\n"
    whole = json.loads(there("config", "history", "shop.taxes", "-o", "json"))
    assert whole == [{"version": 2, "value": [{"rate": 7}]}]
    assert "hush" not in there("config", "history", "shop")
    there("config", "rollback", "shop.currency", "1")
    assert there("config", "get", "shop.currency") == "EUR\n"
    there("config", "rollback", "shop", "3")
    expected = {"currency": "USD", "taxes": [{"rate": 7}], "none": {}, "key": "hush"}
    assert json.loads(there("config", "get", "shop", "--secret")) == expected
    assert "no version 99" in there("config", "rollback", "shop", "99", code=127).lower()
    assert there("config", "history", "nothing.there") == ""
    assert "1 to" in there("config", "rollback", "shop", "0", code=1)


def test_configuration_is_exported_and_imported_with_its_secrets(platform, tmp_path):
    def there(*argv, **more):
        return platform.micro("--namespace", "moved", *argv, **more)

    assert json.loads(there("config", "export")) == {"values": {}, "secrets": {}}
    tree = {"shop": {"currency": "EUR", "a.b": [1]}}
    platform.micro("--namespace", "origin", "config", "set", "shop", json.dumps(tree["shop"]))
    platform.micro("--namespace", "origin", "config", "set", "shop.deep.password", "hush", "--secret")
    bare = platform.micro("--namespace", "origin", "config", "export")
    assert json.loads(bare) == {"values": tree, "secrets": {}}
    whole = platform.micro("--namespace", "origin", "config", "export", "--secret")
    assert json.loads(whole) == {"values": tree, "secrets": {"shop.deep.password": "hush"}}
    (tmp_path / "config.json").write_text(whole)
    there("config", "import", str(tmp_path / "config.json"))
    assert there("config", "export", "--secret") == whole
    assert there("config", "get", "shop.deep.password") == "[secret]\n"
    there("config", "import", "-", stdin=bare)  # what has no secrets leaves those there are
    assert there("config", "get", "shop.deep.password", "--secret") == "hush\n"
    for wrong in ("{", "[]", '{"shop": 1}', '{"values": 1}', "7"):
        assert there("config", "import", "-", stdin=wrong, code=1).startswith("<stdin> is not ")
    assert "No such file" in there("config", "import", "nowhere.json", code=1)
