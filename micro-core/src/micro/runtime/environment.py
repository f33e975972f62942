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
from pathlib import Path

from micro.errors import FailedPrecondition
from micro.runtime.driver import Spec

REQUIREMENTS = "requirements.txt"
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
    """A service ready to start: the folder to start it in, and the command."""

    def __init__(self, folder: Path, command: list[str], path: str) -> None:
        self.folder = folder
        self.command = command
        self.path = path  # what PATH begins with


async def build(spec: Spec, archive: Path | None, place: Path, log: Path) -> Build:
    """Make a service's folder `place` from its archive, whole or not at all; the output of tools goes to the log.

    Raises InvalidArgument for a bad archive, FailedPrecondition for a source that has nothing to start.
    """
    folder = place / "source"
    if not folder.exists():
        await asyncio.to_thread(_unpack, archive, place)
    root = folder / spec.entrypoint if spec.entrypoint else folder
    if not root.resolve().is_relative_to(folder.resolve()) or not root.is_dir():
        raise FailedPrecondition(f"the source has no folder {spec.entrypoint!r}")
    venv = place / "venv"
    if not (venv / "ready").exists():
        await asyncio.to_thread(_environment, venv)
        await _requirements(root, venv, log)
        (venv / "ready").touch()
    return Build(root, _command(spec, root, venv), str(venv / "bin"))


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


async def _requirements(root: Path, venv: Path, log: Path) -> None:
    if not (root / REQUIREMENTS).exists():
        return
    tool = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    python = str(venv / "bin" / "python")
    command = [tool, "pip", "install", "--quiet", "--python", python] if tool else _pip(python)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, "-r", REQUIREMENTS, cwd=root, stdin=asyncio.subprocess.DEVNULL, stdout=fd, stderr=fd
        )
        code = await process.wait()
    finally:
        os.close(fd)
    if code:
        raise FailedPrecondition(f"its {REQUIREMENTS} could not be installed: the log says why")


def _pip(python: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]


def _command(spec: Spec, root: Path, venv: Path) -> list[str]:
    python = str(venv / "bin" / "python")
    if spec.command:
        first = python if spec.command[0] in {"python", "python3"} else spec.command[0]
        return [first, *spec.command[1:], *spec.args]
    for name in ("main.py", "__main__.py", "service.py", "app.py"):
        if (root / name).is_file():
            return [python, name, *spec.args]
    scripts = sorted(path.name for path in root.glob("*.py"))
    if len(scripts) == 1:
        return [python, scripts[0], *spec.args]
    raise FailedPrecondition("the source has no main.py; say what to start with --command")


def variables(spec: Spec, build: Build, platform: dict[str, str]) -> dict[str, str]:
    """Give a service's environment: little of ours, the platform's, its own, which may override all but its identity."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["PATH"] = f"{build.path}{os.pathsep}{env.get('PATH', os.defpath)}"
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "VIRTUAL_ENV": str(Path(build.path).parent)}
    env |= {"MICRO_PROFILE": "service", "MICRO_SERVICE_NAME": spec.name, "MICRO_SERVICE_VERSION": spec.version}
    env |= platform | spec.env | spec.secrets
    fixed = ("MICRO_NAMESPACE", "MICRO_AUTH_ID", "MICRO_AUTH_SECRET")
    return env | {name: platform[name] for name in fixed if name in platform}
