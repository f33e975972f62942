"""A service's command: words to endpoint, flags to request, mistakes to words."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

import pytest

from micro.api import render
from micro.api.command import ServiceInfo, parse
from micro.api.flags import UsageError
from micro.schema import message_of
from micro.schema.info import EndpointInfo


class Colour(Enum):
    RED = "red"
    DARK_BLUE = "blue"


@dataclass
class Address:
    city: str = ""
    zip_code: str = ""


@dataclass
class User:
    name: str = ""
    address: Address = field(default_factory=Address)


@dataclass
class Everything:
    name: str = "world"
    count: int = 0
    ratio: float = 0.0
    loud: bool = False
    tags: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    colour: Colour = Colour.RED
    data: bytes = b""
    when: datetime | None = None
    wait: timedelta | None = None
    user: User = field(default_factory=User)
    user_name: str = ""
    users: list[User] = field(default_factory=list)


def endpoint(handler, method, request=Everything, doc=""):
    info = message_of(request).info
    return EndpointInfo(handler, method, info, info, doc=doc)


def service(*endpoints, name="helloworld"):
    return ServiceInfo(name, {e.name: e for e in endpoints})


HELLO = service(
    endpoint("Helloworld", "Call", doc="Greet someone.\n\nMore words."),
    endpoint("Helloworld", "SayHello"),
    endpoint("Admin", "Reset"),
)


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ([], "Helloworld.Call"),
        (["--name=x"], "Helloworld.Call"),
        (["call"], "Helloworld.Call"),
        (["say-hello"], "Helloworld.SayHello"),
        (["sayHello"], "Helloworld.SayHello"),
        (["SayHello"], "Helloworld.SayHello"),
        (["admin", "reset"], "Admin.Reset"),
        (["reset"], "Admin.Reset"),
    ],
)
def test_words_name_an_endpoint_whatever_their_case_and_separators(argv, wanted):
    assert parse(HELLO, argv).endpoint.name == wanted


def test_no_words_and_no_call_is_the_services_help():
    assert parse(service(endpoint("Foo", "Bar"), name="foo"), []).endpoint is None
    assert parse(HELLO, ["--help"]).endpoint is None


def test_an_unknown_endpoint_names_those_there_are_and_exits_5():
    with pytest.raises(UsageError, match=r"Endpoint Helloworld.Nope not found for service helloworld") as caught:
        parse(HELLO, ["nope"])
    assert caught.value.exit == 5
    assert "Helloworld.SayHello" in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "body"),
    [
        (["--name=x"], {"name": "x"}),
        (["--name", "x"], {"name": "x"}),
        (["-name=x"], {"name": "x"}),
        (["--name=a=b"], {"name": "a=b"}),
        (["--name", "-x-"], {"name": "-x-"}),
        (["--count=3", "--ratio=0.5"], {"count": 3, "ratio": 0.5}),
        (["--loud", "--name=x"], {"loud": True, "name": "x"}),
        (["--no-loud"], {"loud": False}),
        (["--loud=false"], {"loud": False}),
        (["--tags=a", "--tags=b,c"], {"tags": ["a", "b", "c"]}),
        (["--sizes=1,2"], {"sizes": [1, 2]}),
        (["--sizes=[1, 2]"], {"sizes": [1, 2]}),
        (["--labels", "a=1", "--labels", "b=2"], {"labels": {"a": 1, "b": 2}}),
        (['--labels={"a": 1}'], {"labels": {"a": 1}}),
        (["--colour=dark-blue"], {"colour": "DARK_BLUE"}),
        (["--data=aGk="], {"data": "aGk="}),
        (["--when=2030-01-31T12:00:00+01:00"], {"when": "2030-01-31T11:00:00Z"}),
        (["--wait=1m30s"], {"wait": "90s"}),
        (["--user_address-city=Ulm"], {"user": {"address": {"city": "Ulm"}}}),
        (["--user-address-zip_code=1"], {"user": {"address": {"zip_code": "1"}}}),
        (["--user_name=x"], {"user_name": "x"}),
        (['--user={"name": "x"}'], {"user": {"name": "x"}}),
        (['--users={"name": "x"}'], {"users": [{"name": "x"}]}),
        (['--users=[{"name": "x"}]'], {"users": [{"name": "x"}]}),
        (['--input={"name": "x", "count": 1}', "--count=2"], {"name": "x", "count": 2}),
        (["--input", "[1]"], [1]),
    ],
)
def test_flags_become_the_request(argv, body):
    call = parse(HELLO, ["call", *argv])
    assert call.body == body


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--nmae=x"], r"Unknown flag: nmae. Did you mean --name\?"),
        (["--count=x"], "Flag --count: expected a whole number"),
        (["--count=9223372036854775808"], "Flag --count: expected -9223372036854775808 to"),
        (["--ratio=x"], "expected a number"),
        (["--loud=perhaps"], "expected true or false"),
        (["--name"], "Flag --name needs a value"),
        (["--colour=green"], "expected one of .*RED"),
        (["--data=&"], "expected @file or base64"),
        (["--when=soon"], "ISO 8601"),
        ([f"--wait={'9' * 400}h"], "Flag --wait: expected at most 315576000000 seconds"),
        (["--labels=x"], "expected key=value"),
        (["--users=x"], "expected JSON"),
        (["--input={"], "not valid JSON"),
        (["--output=xml"], "expected one of json, yaml, table, raw"),
        (["--metadata=x"], "expected key=value"),
        (["extra", "words", "here"], "Unexpected argument"),
        (["--no-name"], "Unknown flag: no-name"),
    ],
)
def test_a_mistake_is_told_in_words(argv, text):
    with pytest.raises(UsageError, match=text):
        parse(HELLO, ["call", *argv])


def test_a_bad_timeout_exits_2():
    with pytest.raises(UsageError) as caught:
        parse(HELLO, ["--request_timeout=soon"])
    assert caught.value.exit == 2


def test_options_are_taken_and_a_field_of_that_name_wins():
    call = parse(HELLO, ["--metadata=A=b,c=d", "--request_timeout=2s", "--address=h:1", "-o", "yaml"])
    assert (call.metadata, call.timeout, call.address, call.output) == ({"a": "b", "c": "d"}, 2.0, "h:1", "yaml")

    @dataclass
    class Odd:
        output: str = ""

    assert parse(service(endpoint("Helloworld", "Call", Odd)), ["--output=x"]).body == {"output": "x"}


def test_files_are_read_by_who_runs_the_command():
    read = {"a.txt": b"hi", "-": b'{"name": "x"}'}.__getitem__
    assert parse(HELLO, ["--data=@a.txt", "--name=@a.txt"], read).body == {"data": "aGk=", "name": "hi"}
    assert parse(HELLO, ["--input=-"], read).body == {"name": "x"}


def test_help_lists_commands_and_flags():
    text = render.service_help(HELLO)
    assert text.startswith("micro helloworld - ")
    assert "say-hello" in text
    assert "admin reset" in text
    assert "Greet someone." in text
    text = render.endpoint_help(HELLO, HELLO.endpoints["Helloworld.Call"])
    assert text.startswith("micro helloworld call - Greet someone.")
    assert "--user_address_city string" in text
    assert '--name string (default "world")' in " ".join(text.split())
    assert "Example:" in text


def test_answers_are_json_yaml_or_a_table():
    raw = json.dumps({"users": [{"name": "x", "n": 1}, {"name": "yes"}]}).encode()
    assert render.answer(raw, "json").startswith('{\n\t"users": [')
    assert render.answer(raw, "yaml") == 'users:\n  - name: x\n    n: 1\n  - name: "yes"'
    assert render.answer(raw, "table") == "NAME  N\nx     1\nyes"
    assert render.answer(raw, "raw") == raw.decode()


class TestFreeJson:
    """A request that is any JSON object."""

    def parse(self, *argv):
        return parse(service(endpoint("Helloworld", "Call", dict)), ["call", *argv])

    def test_any_flag_is_a_field_by_its_own_name(self):
        assert self.parse("--Some-Key=1", "--b", "x y", "--c", "-5", "--d", "--e={}").body == {
            "Some-Key": 1, "b": "x y", "c": -5, "d": True, "e": {},
        }  # fmt: skip

    def test_options_are_still_options(self):
        call = self.parse("--a=1", "-o", "raw", "--metadata=k=v", "--verbose", "--b=2")
        assert (call.output, call.metadata, call.body) == ("raw", {"k": "v"}, {"a": 1, "b": 2})

    def test_help_says_so(self):
        one = endpoint("Helloworld", "Call", dict)
        assert "any field" in render.endpoint_help(service(one), one)
