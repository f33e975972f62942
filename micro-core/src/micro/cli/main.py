"""From words to a command: built in, a plugin's, an executable of the PATH, a running service."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterable

import click

from micro._version import __version__
from micro.cli.framework import FORMS, Settings, two_dashes
from micro.cli.launch import ACCEPTED, BUILT_IN
from micro.errors import ConfigError, MicroError, ServiceError

# where each built-in command is; a module is imported when its word is typed
MODULES = {
    "auth": "auth", "blob": "blob", "call": "call", "config": "config", "env": "env", "events": "events", "get": "services", "kill": "runtime",
    "login": "login", "logout": "login", "logs": "runtime", "new": "new", "plugins": "plugins", "profile": "plugins",
    "run": "runtime", "server": "server", "service": "server", "services": "services", "shutdown": "server",
    "status": "runtime", "store": "store", "stream": "call", "update": "runtime", "user": "user",
}  # fmt: skip
GROUPS = (
    ("Platform", ("server", "service", "shutdown", "plugins", "profile")),
    ("Services", ("new", "run", "update", "kill", "status", "logs", "services", "get", "call", "stream")),
    ("Building blocks", ("config", "store", "blob", "events", "auth")),
    ("You", ("env", "login", "logout", "user")),
)
_VALUED = {"env": "env", "e": "env", "config": "config", "c": "config", "namespace": "namespace", "profile": "profile",
           "output": "output", "o": "output"}  # fmt: skip


def run(argv: list[str]) -> int:
    """Run one command; gives its exit code."""
    settings = Settings()
    try:
        words = _globals(argv, settings)
        return _dispatch(words, settings)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read us has seen enough: nothing more can be written, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as exc:
        return fail(exc, debug=settings.debug)


def fail(exc: Exception, *, debug: bool = False) -> int:
    """Say what went wrong, on stderr, in words; gives the exit code."""
    from micro.api.flags import UsageError
    from micro.api.outcome import UNAUTHORIZED, UNREACHED, outcome, sentence
    from micro.cli.session import NoServerError, StaleAdminError

    code = 1
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        sys.stdout.write(exc.format_message() + "\n")
        return 1
    if isinstance(exc, click.NoSuchOption):
        params = exc.ctx.command.params if exc.ctx else ()
        shown = [each for each in params if isinstance(each, click.Option) and not each.hidden]
        known = [name.lstrip("-") for each in shown for name in each.opts]
        text = unknown_flag(exc.option_name.lstrip("-"), known)
    elif isinstance(exc, click.ClickException):
        text = exc.format_message()
    elif isinstance(exc, UnicodeEncodeError):  # only words can hold such text, and only as what could not be decoded
        text = f"{exc.object!r} is not valid UTF-8"
    elif isinstance(exc, NoServerError):
        text, code = exc.detail, UNREACHED
    elif isinstance(exc, StaleAdminError):
        text, code = exc.detail, UNAUTHORIZED
    elif isinstance(exc, ServiceError):
        text, code = outcome(exc)
    elif isinstance(exc, UsageError):
        text, code = str(exc), exc.exit
    elif isinstance(exc, ConfigError):
        text, code = str(exc), 78
    elif isinstance(exc, MicroError):
        text = str(exc)
    else:
        text, code = f"{type(exc).__name__}: {exc}" if debug else (str(exc) or type(exc).__name__), 128
    sys.stdout.flush()
    sys.stderr.write(sentence(text).rstrip() + "\n")
    cause = exc.__cause__ or exc.__context__
    while debug and cause is not None:
        sys.stderr.write(f"  because {type(cause).__name__}: {cause}\n")
        cause = cause.__cause__ or cause.__context__
    if debug and code == 128:
        import traceback

        traceback.print_exception(exc)
    return code


def _globals(argv: list[str], settings: Settings) -> list[str]:
    """Take the global flags before the command's word; gives the word and what follows."""
    words = list(argv)
    while words and words[0].startswith("-") and len(words[0]) > 1:
        key, sep, value = two_dashes([words.pop(0)])[0].lstrip("-").partition("=")
        if key in {"help", "h"}:
            return ["--help"]
        if key in {"version", "v"}:
            return ["--version"]
        if key == "debug":
            settings.debug = True
        elif key == "report_usage":
            continue
        elif key in _VALUED or key in ACCEPTED:
            if not sep:
                if not words:
                    raise click.UsageError(f"Flag {'-' if len(key) == 1 else '--'}{key} needs a value")
                value = words.pop(0)
            if key in {"output", "o"} and value not in FORMS:
                raise click.UsageError(f"Flag --output: expected one of {', '.join(FORMS)}, got {value!r}")
            if key in _VALUED:
                setattr(settings, _VALUED[key], value)
        else:
            raise click.UsageError(unknown_flag(key, [*_VALUED, "debug", "help", "version"]))
    return words


def _dispatch(words: list[str], settings: Settings) -> int:
    if not words:
        sys.stdout.write(overview())
        raise click.UsageError("No command provided to micro. Please refer to 'micro --help'")
    word, rest = words[0], words[1:]
    if word == "--version":
        sys.stdout.write(f"micro version {__version__}\n")
        return 0
    if word in {"--help", "help"}:
        return _dispatch([rest[0], "--help"], settings) if rest else _shown(overview())
    command = built_in(word) or _plugged_in(word)
    gc.enable()  # the launcher has left it off
    if command is not None:
        try:
            result = command.main(rest, prog_name=f"micro {word}", standalone_mode=False, obj=settings)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.Abort:
            return 130
        return result if isinstance(result, int) else 0
    import shutil

    executable = shutil.which(f"micro-{word}")
    if executable:
        sys.stdout.flush()
        os.execv(executable, [executable, *rest])  # noqa: S606 - it takes this command's place, as asked
    from micro.cli.dynamic import run as dynamic

    return dynamic(settings, word, rest)


def _shown(text: str) -> int:
    sys.stdout.write(text)
    return 0


def built_in(word: str) -> click.Command | None:
    """Give a built-in command."""
    name = MODULES.get(word)
    if name is None:
        return None
    module = importlib.import_module(f"micro.cli.commands.{name}")
    found: click.Command = module.COMMANDS[word]
    return found


def _plugged_in(word: str) -> click.Command | None:
    """Give a plugin's command group; entry points are looked through only for a word that is no command of ours."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="micro.cli", name=word):
        found = entry.load()
        if isinstance(found, click.Command):
            return found
    return None


def unrecognized(word: str, services: list[str]) -> click.UsageError:
    """Make the error of a word that is no command, with the nearest that are."""
    from micro.names import near

    meant = near(word, sorted({*BUILT_IN, *services}), most=3)
    hint = f"\nThe nearest: {', '.join(meant)}" if meant else ""
    return click.UsageError(f"Unrecognized micro command: {word}. Please refer to 'micro --help'{hint}")


def unknown_flag(flag: str, known: Iterable[str]) -> str:
    """Say that a flag is none, with the nearest that is."""
    from micro.names import near

    meant = near(flag, known)
    return f"Unknown flag: {flag}" + (f". Did you mean --{meant[0]}?" if meant else "")


def overview() -> str:
    """Give the help of `micro` itself."""
    lines = ["micro - a cloud-native platform in one install", "", "Usage:", "  micro [flags] <command> [arguments]"]
    for title, words in GROUPS:
        lines += ["", f"{title}:"]
        for word in words:
            command = built_in(word)
            about = (command.help or "").partition("\n")[0] if command else ""
            lines.append(f"  {word.ljust(10)} {about}")
    lines += [
        "",
        "Every running service is a command too: micro helloworld --name=Alice",
        "",
        "Flags:",
        "  --env, -e NAME      environment to use (MICRO_ENV)",
        "  --namespace NAME    namespace to use (MICRO_NAMESPACE)",
        "  --config, -c FILE   state file to use (MICRO_CONFIG_FILE)",
        "  --output, -o FORM   json, yaml, table or wide",
        "  --debug             show causes of errors",
        "  --version, --help",
        "",
        "Example:",
        "  micro server",
        "  micro run ./helloworld",
        "  micro helloworld --name=Alice",
        "",
    ]
    return "\n".join(lines)
