"""`micro new`: a project that runs."""

from __future__ import annotations

from pathlib import Path

import click

from micro import names
from micro.cli import output
from micro.cli.framework import command, named

MAIN = '''from dataclasses import dataclass

from micro import Service


@dataclass
class Request:
    name: str = "world"


@dataclass
class Response:
    msg: str


class {handler}:
    """Greets people."""

    async def call(self, request: Request) -> Response:
        """Greet someone."""
        return Response(msg=f"Hello {{request.name}}")


service = Service("{name}", handlers=[{handler}()])

if __name__ == "__main__":
    service.run()
'''

TEST = """import asyncio

from main import {handler}, Request


def test_it_greets() -> None:
    answer = asyncio.run({handler}().call(Request(name="Alice")))
    assert answer.msg == "Hello Alice"
"""

README = """# {name}

A service of Micro. With a server running (`micro server`):

```sh
micro run .
micro {name} --name=Alice
curl -d '{{"name": "Alice"}}' http://127.0.0.1:8080/{name}
micro logs {name}
```

`python -m pytest` runs the test.
"""


@command("new", example="micro new helloworld\nmicro run helloworld")
@click.argument("name")
@click.option("--language", type=click.Choice(["python"]), expose_value=False, help="of the code")
@click.option("--proto", is_flag=True, hidden=True)
def new(name: str, proto: bool) -> None:
    """Make a project that runs: code, test, README"""
    if proto:
        raise click.UsageError(
            "Projects with a .proto are not made yet; a service takes the messages that protoc generates where "
            "'micro new' has dataclasses"
        )
    if not name.strip():
        raise click.UsageError("Name the folder to make the project in")
    folder = Path(name).expanduser()
    service = named(names.service, folder.resolve().name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.UsageError(f"There is {name} already, and it is not empty")
    handler = "".join(part[:1].upper() + part[1:] for part in service.replace(".", "-").replace("_", "-").split("-"))
    if not handler.isidentifier():
        raise click.UsageError(f"{service!r} cannot be a handler's name; begin it with a letter")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("main.py", MAIN), ("test_main.py", TEST), ("README.md", README)):
        (folder / file).write_text(text.format(name=service, handler=handler), encoding="utf-8")
    output.note(f"Made {folder}. Next: micro run {folder}")


COMMANDS = {"new": new}
