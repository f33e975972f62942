"""Types are complete: a user's code over every face is clean for the strictest checkers, and a user's mistakes are not."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("sample.py")
PYRIGHT = ("basedpyright", "pyright")
MISTAKES = """
from dataclasses import dataclass

from micro import Client, blocking, broker, config, events, store


@dataclass
class Order:
    id: str


async def wrong() -> None:
    await store.write(b"key", b"")
    (await store.get("a", Order)).customer
    (await config.get("a", int)).lower()
    await events.publish("orders")
    async for delivery in events.consume("orders", Order):
        delivery.payload.customer
    async for message in broker.subscribe("lobby"):
        message.payload.customer
    blocking.store.get("a", Order).customer
    await Client("orders").call("Orders.Place", timeout="2s")
"""


def mypy(tmp_path, *files):
    """Check as a user does, who has none of our settings; gives what it says."""
    options = ("--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'user'}", "--no-error-summary")
    command = [sys.executable, "-m", "mypy", *options, *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "file", [SAMPLE, *(ROOT / "examples").rglob("main.py")], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_users_code_is_clean_for_mypy(tmp_path, file):
    assert mypy(tmp_path, file) == []


def test_users_mistakes_are_found(tmp_path):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    lines = [line for line in MISTAKES.splitlines() if line.startswith("    ")][1:]  # of the function
    wrong = [at for at, line in enumerate(MISTAKES.splitlines(), 1) if line in lines and "async for" not in line]
    found = {int(line.split(":")[1]) for line in mypy(tmp_path, "mistakes.py") if ": error: " in line}
    assert found == set(wrong)


def test_the_types_of_the_blocking_twins_are_made_from_the_async_ones():
    spec = importlib.util.spec_from_file_location("blocking", ROOT / "scripts" / "blocking.py")
    blocking = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(blocking)
    made = blocking.pages()
    assert {path.name: path.read_text() for path in blocking.FOLDER.glob("*.pyi")} == made, "python scripts/blocking.py"


def test_users_code_is_clean_for_pyright(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = next((found for name in PYRIGHT if (found := shutil.which(name, path=path))), None)
    if program is None:  # it brings a whole node, so it is not among the tools of every checkout
        why = "pyright is not installed: uv pip install -r requirements/types.txt"
        if os.environ.get("MICRO_REQUIRE_SERVERS"):
            pytest.fail(why)
        pytest.skip(why)
    settings = {"include": [str(SAMPLE)], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [program, "-p", str(tmp_path), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    told = json.loads(done.stdout)
    assert [each for each in told["generalDiagnostics"] if each["severity"] != "information"] == []
    assert told["summary"]["filesAnalyzed"] >= 1
