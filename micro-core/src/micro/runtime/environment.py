"""What a service needs around it: its source unpacked, a Python environment of its own, what to start.

The environment is a virtual environment with the platform's packages behind the service's own, so that `import micro`
works without installing anything, and what a service asks for wins over what the platform has.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path, PurePath

from micro.errors import FailedPrecondition
from micro.runtime.driver import Spec

REQUIREMENTS = "requirements.txt"
NOTHING = "the source has no main.py; say what to start with --command"
PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "NO_PROXY",
)


class Build:
    """A service ready to start: the folder to start it in, the command, what its environment begins with, its image if it has one."""

    def __init__(self, folder: PurePath, command: list[str], env: Mapping[str, str], image: str = "") -> None:
        self.folder = folder
        self.command = command
        self.env = env
        self.image = image


async def build(spec: Spec, archive: Path | None, place: Path, log: Path) -> Build:
    """Make a service's folder `place` from its archive, whole or not at all; the output of tools goes to the log.

    Raises InvalidArgument for a bad archive, FailedPrecondition for a source that has nothing to start.
    """
    root = await unpacked(spec, archive, place)
    venv = place / "venv"
    python = str(venv / "bin" / "python")
    if not (venv / "ready").exists():
        await asyncio.to_thread(_environment, venv)
        await install(root, log, "--python", python)
        (venv / "ready").touch()
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    main = "" if spec.command else main_of(root)
    return Build(root, command(spec, python, main), env | {"VIRTUAL_ENV": str(venv)})


async def unpacked(spec: Spec, archive: Path | None, place: Path) -> Path:
    """Unpack a service's source below `place`, unless it is there; gives the folder to start it in."""
    folder = place / "source"
    if not folder.exists():
        await asyncio.to_thread(_unpack, archive, place)
    root = folder / spec.entrypoint if spec.entrypoint else folder
    if not root.resolve().is_relative_to(folder.resolve()) or not root.is_dir():
        raise FailedPrecondition(f"the source has no folder {spec.entrypoint!r}")
    return root


def _unpack(archive: Path | None, place: Path) -> None:
    fresh = place / "unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    try:
        if archive is not None:
            from micro.runtime import source  # brings what a service that is only started again does not need

            source.unpack(archive, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    fresh.rename(place / "source")


def _environment(venv: Path) -> None:
    import venv as builder

    shutil.rmtree(venv, ignore_errors=True)
    builder.EnvBuilder(symlinks=True, with_pip=False).create(venv)
    packages = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "micro-platform.pth").write_text("\n".join(_platform_paths()) + "\n")


def _platform_paths() -> list[str]:
    """Give where the platform's own packages are, an editable checkout's sources among them."""
    import micro

    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(micro.__file__).parents[1])]
    return list(dict.fromkeys(path for path in found if Path(path).is_dir()))


async def install(root: Path, log: Path, *where: str) -> bool:
    """Install what a source asks for, `where` pip's options say; False when it asks for nothing."""
    if not (root / REQUIREMENTS).exists():
        return False
    tool = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    words = (
        [tool, "pip", "install"] if tool else [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    )
    if not tool and where[0] == "--python":
        words[3:3], where = where, ()  # pip takes it before its command
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            "--quiet",
            *where,
            "-r",
            REQUIREMENTS,
            cwd=root,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
        )
        code = await process.wait()
    finally:
        os.close(fd)
    if code:
        raise FailedPrecondition(f"its {REQUIREMENTS} could not be installed: the log says why")
    return True


def main_of(root: Path) -> str:
    """Find the program that a source begins with."""
    for name in ("main.py", "__main__.py", "service.py", "app.py"):
        if (root / name).is_file():
            return name
    scripts = sorted(path.name for path in root.glob("*.py"))
    if len(scripts) == 1:
        return scripts[0]
    raise FailedPrecondition(NOTHING)


def command(spec: Spec, python: str, main: str) -> list[str]:
    """Say what to start: the command that is wanted, else the program of the source."""
    if not spec.command:
        return [python, main, *spec.args]
    first = python if spec.command[0] in {"python", "python3"} else spec.command[0]
    return [first, *spec.command[1:], *spec.args]


def variables(spec: Spec, build: Build, platform: dict[str, str]) -> dict[str, str]:
    """Give a service's environment: little of ours, the platform's, its own, which may override all but its identity."""
    env = {**build.env, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    env |= {"MICRO_PROFILE": "service", "MICRO_SERVICE_NAME": spec.name, "MICRO_SERVICE_VERSION": spec.version}
    env |= platform | spec.env | spec.secrets
    fixed = ("MICRO_NAMESPACE", "MICRO_AUTH_ID", "MICRO_AUTH_SECRET")
    return env | {name: platform[name] for name in fixed if name in platform}
