"""`micro events`: what is published is read, consumed, buried, and copied to another platform."""

import json
import subprocess

import pytest

from micro.testing.platform import MICRO, Platform

pytestmark = pytest.mark.e2e


def test_what_is_published_is_read_and_consumed(platform):
    micro = platform.micro
    assert micro("events", "publish", "cli.orders", '{"id": 1}') == ""
    micro("events", "publish", "cli.orders", "-", "--id", "second", "--key", "k", stdin="plain text")
    again = json.loads(micro("events", "publish", "cli.orders", "other", "--id", "second", "-o", "json"))
    assert again == [{"id": "second", "sequence": "2", "duplicate": "true"}]
    assert micro("events", "read", "cli.orders") == '{"id": 1}\nplain text\n'
    assert micro("events", "read", "cli.orders", "--newest", "-l", "1") == "plain text\n"
    assert micro("events", "read", "cli.orders", "--after", "1") == "plain text\n"
    assert micro("events", "read", "cli.orders", "--since", "1h") == '{"id": 1}\nplain text\n'
    assert micro("events", "read", "cli.orders", "--since", "2100-01-01") == ""
    assert micro("events", "read", "cli.nothing") == ""
    assert json.loads(micro("events", "read", "cli.orders", "-o", "json"))[1]["id"] == "second"
    assert micro("events", "read", "cli.orders", "-v").splitlines()[1].split("\t")[:3] == ["2", "second", "k"]
    assert micro("events", "consume", "cli.orders", "--offset", "oldest", "-n", "2") == '{"id": 1}\nplain text\n'
    assert micro("events", "consume", "cli.orders", "-g", "g", "--offset", "2", "-n", "1") == "plain text\n"
    micro("events", "publish", "cli.orders", "third")
    (third,) = micro("events", "consume", "cli.orders", "-g", "g", "-n", "1", "-o", "json").splitlines()
    assert json.loads(third)["payload"] == "third"
    assert "--since: 'soon' is no instant" in micro("events", "read", "cli.orders", "--since", "soon", code=1)
    assert "--offset: 'x' is no instant" in micro("events", "consume", "cli.orders", "--offset", "x", code=1)
    assert "control characters" in micro("events", "publish", "a\nb", "x", code=127)


def test_dead_letters_are_listed_and_published_again(platform):
    micro = platform.micro
    program = """
import asyncio
from micro import events

async def main():
    await events.publish("cli.bad", "poison", id="bad")
    async with events.consume("cli.bad", group="g", start=events.Start.OLDEST, max_deliveries=1, manual=True) as found:
        await (await anext(found)).nack(0)
        while not await events.read("cli.bad.dlq"):
            await asyncio.sleep(0.02)

asyncio.run(main())
"""
    python = MICRO.replace("/micro", "/python")
    subprocess.run([python, "-c", program], env=platform.env, check=True)
    (letter,) = json.loads(micro("events", "dead", "cli.bad", "-o", "json"))
    assert (letter["id"], letter["group"], letter["deliveries"], letter["payload"]) == ("bad", "g", "1", "poison")
    assert micro("events", "dead", "cli.bad", "other") == ""
    assert micro("events", "dead", "cli.bad", "bad", "--replay") == ""
    assert micro("events", "read", "cli.bad") == "poison\npoison\n"
    assert "No dead letter" in micro("events", "dead", "cli.bad", "none", "--replay", code=127)


def test_a_topic_is_copied_to_another_environment(platform, tmp_path):
    micro = platform.micro
    for n in range(3):
        micro("events", "publish", "cli.copied", str(n), "--id", f"n{n}")
    micro("events", "consume", "cli.copied", "-g", "g", "--offset", "oldest", "-n", "1")
    other = Platform(tmp_path / "other", profile="test").start()
    try:
        micro("env", "add", "far", other.address("proxy"))
        secret = json.loads((other.data / "admin.json").read_text())["secret"]
        micro("--env", "far", "login", "--username", "admin", "--password", secret)
        (told,) = json.loads(micro("events", "copy", "cli.copied", "--to", "far", "-o", "json"))
        assert (told["topic"], told["events"], told["groups"]) == ("cli.copied", "3", "1")
        assert micro("--env", "far", "events", "read", "cli.copied") == "0\n1\n2\n"
        assert micro("--env", "far", "events", "consume", "cli.copied", "-g", "g", "-n", "1") == "1\n"
        (again,) = json.loads(micro("events", "copy", "cli.copied", "--to", "far", "-o", "json"))
        assert (again["events"], again["groups"], again["sha256"]) == ("3", "0", told["sha256"])
        micro("--env", "far", "events", "publish", "cli.copied", "more")
        assert "used already" in micro("events", "copy", "cli.copied", "--to", "far", code=127)
        assert "not found" in micro("events", "copy", "cli.copied", "--to", "nowhere", code=1)
    finally:
        other.end()
        micro("env", "del", "far")
