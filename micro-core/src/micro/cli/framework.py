"""Commands by click, with our own manners: global flags anywhere, one dash or two, help with an example, exit codes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.types import IntParamType

from micro.api.outcome import sentence
from micro.cli.launch import ACCEPTED
from micro.cli.session import Session
from micro.errors import InvalidArgument
from micro.service.state import State

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("json", "yaml", "table", "wide", "raw")  # of output
_LONG = re.compile(r"-[A-Za-z][A-Za-z][A-Za-z0-9_-]*(=.*)?", re.DOTALL)


class Settings:
    """The global flags of one command."""

    def __init__(self) -> None:
        self.env = os.environ.get("MICRO_ENV", "")
        self.namespace = os.environ.get("MICRO_NAMESPACE", "")
        self.config = os.environ.get("MICRO_CONFIG_FILE", "")
        self.profile = os.environ.get("MICRO_PROFILE", "")
        self.output = ""
        self.debug = False
        self._session: Session | None = None

    @property
    def state(self) -> State:
        """The state file."""
        return State(self.config)

    @property
    def session(self) -> Session:
        """The way to the environment's platform, made on first use."""
        if self._session is None:
            self._session = Session(self.state, env=self.env, namespace=self.namespace)
        return self._session

    def forget_session(self) -> None:
        """Make the session anew: a flag has changed where it goes."""
        self._session = None


class Whole(IntParamType):
    """A whole number from `low` to `high`: what the flag's place in a request can hold."""

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self._low - 1
        if not self._low <= number <= self._high:
            shown = str(value) if len(str(value)) <= 40 else f"{str(value)[:37]}..."
            self.fail(f"expected a whole number from {self._low} to {self._high}, got {shown!r}", param, ctx)
        return number


COUNT = Whole(0, 2**63 - 1)  # of records: what every store can count to


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def store(ctx: click.Context, _: click.Parameter, value: Any) -> Any:
        if value not in {None, False}:
            setattr(ctx.ensure_object(Settings), name, value)
        return value

    return store


def _globals() -> list[click.Option]:
    def option(*names: str, key: str, **attrs: Any) -> click.Option:
        return click.Option([*names], expose_value=False, callback=_store(key), **attrs)

    found = [
        option("--env", "-e", key="env", help="environment to use"),
        option("--namespace", key="namespace", help="namespace to use"),
        option("--config", "-c", key="config", help="state file to use"),
        option("--profile", key="profile", hidden=True),
        option(
            "--output", "-o", key="output", help="json, yaml, table or wide",
            type=click.Choice(FORMS),
        ),
        option("--debug", key="debug", is_flag=True, help="show causes of errors"),
        click.Option(["--report_usage"], expose_value=False, is_flag=True, hidden=True),
    ]  # fmt: skip
    return found + [click.Option([f"--{name}"], expose_value=False, hidden=True) for name in ACCEPTED]


def with_globals(params: Sequence[click.Parameter]) -> list[click.Parameter]:
    """Give a command's parameters with the global flags; its own win where both have a name."""
    own = {name for param in params for name in param.opts}
    found: list[click.Parameter] = [*params]
    for option in _globals():
        option.opts = [name for name in option.opts if name not in own]
        if option.opts:
            found.append(option)
    return found


def two_dashes(args: Sequence[str]) -> list[str]:
    """Give arguments with two dashes where one was meant as such: `-env=x` is `--env=x`. After `--` all stays."""
    fixed: list[str] = []
    for at, arg in enumerate(args):
        if arg == "--":
            return fixed + list(args[at:])
        fixed.append(f"-{arg}" if _LONG.fullmatch(arg) else arg)
    return fixed


class Command(click.Command):
    """A built-in command; `example` is shown in its help."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {})
        kwargs["context_settings"].setdefault("help_option_names", ["--help", "-h"])
        super().__init__(*args, **kwargs)
        self.params = with_globals(self.params)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, two_dashes(args))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        head, _, rest = (self.help or "").partition("\n")
        formatter.write(f"{ctx.command_path} - {head}\n")
        if rest.strip():
            formatter.write(f"\n{rest.strip()}\n")
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write(f"\nUsage:\n  {ctx.command_path} {pieces}\n")
        self.format_options(ctx, formatter)
        if self.example:
            formatter.write("\nExample:\n" + "".join(f"  {line}\n" for line in self.example.splitlines()))


class Group(click.Group):
    """A command with commands."""

    command_class = Command

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {})
        kwargs["context_settings"].setdefault("help_option_names", ["--help", "-h"])
        super().__init__(*args, **kwargs)
        self.params = with_globals(self.params)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, two_dashes(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            path = ctx.command_path
            raise click.UsageError(
                f"Unrecognized subcommand for {path}: {args[0]}. Please refer to '{path} --help'", ctx=None
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"{ctx.command_path} - {(self.help or '').partition(chr(10))[0]}\n")
        self.format_commands(ctx, formatter)
        if self.example:
            formatter.write("\nExample:\n" + "".join(f"  {line}\n" for line in self.example.splitlines()))


def flags(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several options, shown in this order."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def settings() -> Settings:
    """Give the running command's global flags."""
    return click.get_current_context().ensure_object(Settings)


def session() -> Session:
    """Give the running command's session."""
    return settings().session


def named(check: Callable[[str], str], text: str) -> str:
    """Check a name that a person gave; what is none is their mistake, not a service's answer."""
    try:
        return check(text)
    except InvalidArgument as err:
        raise click.UsageError(sentence(err.detail)) from None


def secret(given: str | None, prompt: str, instead: str, *, new: bool = False) -> str:
    """Give a secret: as given by a flag, else asked for, unseen, a new one twice; `instead` says what to give elsewhere."""
    if given is None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError(f"Give {instead}; there is no terminal to ask on")
        given = str(click.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True))
    if not given:
        raise click.UsageError(f"{prompt}: it is empty")
    return given


def command(name: str, *, example: str = "", **kwargs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help, its first line the usage."""
    return click.command(name, cls=Command, example=example, **kwargs)
