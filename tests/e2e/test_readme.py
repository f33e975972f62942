"""The README's and the examples' blocks, typed as a newcomer would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from micro.testing.platform import until

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def typed(platform, text, folder, **env):
    """Run a block line by line, as `sh -e` would, against this platform."""
    text = text.replace("127.0.0.1:8080", platform.address("api")).replace(
        "$PWD/.venv/bin", str(Path(sys.executable).parent)
    )
    done = subprocess.run(
        ["sh", "-e", "-c", text],
        cwd=folder,
        env=platform.env | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_service_of_the_readme(platform, tmp_path):
    start, make, use = blocks(ROOT / "README.md", "sh")
    assert start.strip() == "scripts/server"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    typed(platform, make, tmp_path, PATH=path)
    code = next(block for block in blocks(ROOT / "README.md", "python") if "class Helloworld" in block)
    assert (tmp_path / "helloworld" / "main.py").read_text() == code
    until(lambda: " running " in platform.micro("status", "helloworld"), what="helloworld running")
    script = next(block for block in blocks(ROOT / "README.md", "python") if "asyncio.run" in block)
    said = subprocess.run(
        [sys.executable, "-c", script], env=platform.env, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert said == "{'msg': 'Hello Alice'}\n"
    shown = typed(platform, use, tmp_path, PATH=path)
    assert shown.count("Hello Alice") == 3
    assert "--name" in shown
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_main.py"],
        cwd=tmp_path / "helloworld", env=platform.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert test.returncode == 0, test.stdout
