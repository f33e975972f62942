"""What a person does with a service at the command line: streams from standard input, help, nodes by address."""

import subprocess

import pytest

pytestmark = pytest.mark.e2e
SERVICE = """
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from micro import Service
from micro.schema import field


@dataclass
class Request:
    \"\"\"A request.

    name: who is meant
    \"\"\"

    n: int = 0
    name: str = "world"
    count: Annotated[int, field(description="how often")] = 3


@dataclass
class Response:
    n: int = 0


class Streamer:
    async def one(self, request: Request) -> Response:
        \"\"\"One to one.\"\"\"
        return Response(request.n)

    async def many(self, request: Request) -> AsyncIterator[Response]:
        for n in range(request.count):
            yield Response(n)

    async def sum(self, requests: AsyncIterator[Request]) -> Response:
        return Response(sum([one.n async for one in requests]))

    async def both(self, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        async for one in requests:
            yield Response(one.n)


Service("streamer", handlers=[Streamer()]).run()
"""
LINES = '{"n":1}\n\n{"n":2}\n'
BOTH = '{"n":1}\n{"n":2}\n'


@pytest.fixture(scope="module")
def streamer(platform, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "streamer"
    folder.mkdir()
    (folder / "main.py").write_text(SERVICE)
    platform.run(folder)
    yield platform
    platform.micro("kill", "streamer")


@pytest.fixture(params=["micro stream", "micro <service>"])
def stream(request, streamer):
    """Stream to an endpoint, by either command."""

    def stream(method, *rest, **more):
        if request.param == "micro stream":
            return streamer.micro("stream", "streamer", f"Streamer.{method.title()}", *rest, "-o", "raw", **more)
        given = [f"--input={rest[0]}"] if rest and not rest[0].startswith("-") else []
        return streamer.micro("streamer", method, *given, *rest[len(given) :], "-o", "raw", **more)

    return stream


def test_lines_of_standard_input_are_the_clients_side_of_a_stream(stream):
    assert stream("both", stdin=LINES) == BOTH
    assert stream("sum", stdin=LINES) == '{"n":3}\n'
    assert stream("both", stdin="") == ""


def test_an_answer_shows_before_the_next_line_is_typed(streamer):
    """A conversation: whoever types waits for what is said."""
    for words in (["stream", "streamer", "Streamer.Both"], ["streamer", "both"]):
        with subprocess.Popen(
            [streamer.launcher, *words, "-o", "raw"], env=streamer.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as talk:
            for line in (b'{"n":1}\n', b'{"n":2}\n'):
                talk.stdin.write(line)
                talk.stdin.flush()
                assert talk.stdout.readline() == line
            talk.stdin.close()
            assert talk.wait(30) == 0


def test_a_line_that_is_no_json_is_named_and_fails(stream):
    said = stream("both", stdin='{"n":1}\n{"n":\n', code=1)
    assert "Line 2 of standard input is not valid JSON: " in said


def test_standard_input_is_left_alone_where_json_is_given_or_one_message_is_wanted(stream):
    assert stream("both", '{"n":7}', stdin="junk") == '{"n":7}\n'
    assert stream("both", "{}", stdin="junk") == '{"n":0}\n'
    assert stream("many", stdin="junk") == '{"n":0}\n{"n":1}\n{"n":2}\n'


def test_in_another_namespace_it_is_the_same(streamer, tmp_path):
    (tmp_path / "main.py").write_text(SERVICE)
    streamer.micro("--namespace", "shop", "run", str(tmp_path), "--name", "streamer")
    try:
        from micro.testing.platform import until

        until(lambda: "streamer" in streamer.micro("--namespace", "shop", "services").split(), 30, "it")
        for argv in (["stream", "streamer", "Streamer.Both"], ["streamer", "both"]):
            assert streamer.micro("--namespace", "shop", *argv, "-o", "raw", stdin=LINES) == BOTH
        assert 'default "world"' in streamer.micro("--namespace", "shop", "streamer", "one", "--help")
    finally:
        streamer.micro("--namespace", "shop", "kill", "streamer")


def test_help_of_an_endpoint_has_type_default_and_description(streamer):
    for way in ({}, {"MICRO_CONFIG_FILE": str(streamer.home / "none.json")}):
        lines = [" ".join(line.split()) for line in streamer.micro("streamer", "one", "--help", **way).splitlines()]
        assert lines[0] == "micro streamer one - One to one."
        assert "--n int64" in lines
        assert '--name string who is meant (default "world")' in lines
        assert "--count int64 how often (default 3)" in lines


def test_a_node_that_does_not_answer_is_4_whoever_calls_it(streamer):
    for address in ("127.0.0.1:1", "nowhere.invalid:1"):
        for argv in (
            ["call", "streamer", "Streamer.One"], ["stream", "streamer", "Streamer.Many"],
            ["stream", "streamer", "Streamer.Both"], ["streamer", "one"], ["streamer", "many"], ["streamer", "both"],
        ):  # fmt: skip
            for way in ({}, {"MICRO_CONFIG_FILE": str(streamer.home / "none.json")}):
                said = streamer.micro(*argv, "--address", address, code=4, **way)
                assert said == f"Failed to connect to micro server at {address}\n", argv
