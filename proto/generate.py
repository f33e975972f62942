# ruff: noqa: INP001, T201 -- a script, not a module of a package
"""Generate `micro.proto` from the `.proto` files beside this one, for `scripts/proto`.

protoc's modules are changed in two ways: they import one another from `micro.proto`, and their descriptors go into a pool of
their own, so that a process may also load a user's `auth.proto`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
PACKAGE = SOURCES.parent / "micro-core" / "src" / "micro" / "proto"


def generate(target: Path) -> list[Path]:
    """Write a `_pb2.py` and a `_pb2.pyi` for each `.proto` file, and return what was written, sorted."""
    names = sorted(path.name for path in SOURCES.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        outputs = [f"--python_out={raw}", f"--pyi_out={raw}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", *outputs, *names], check=True)
        modules = [name.removesuffix(".proto") + "_pb2" for name in names]
        written = []
        for path in sorted(raw.iterdir()):
            text = _within_package(path.read_text(encoding="utf-8"), modules)
            if path.suffix == ".py":
                text = _with_own_pool(text, path.stem)
            written.append(target / path.name)
            written[-1].write_text(text, encoding="utf-8", newline="\n")
    return written


def _within_package(text: str, modules: list[str]) -> str:
    return re.sub(rf"^import ({'|'.join(modules)}) as", r"from micro.proto import \1 as", text, flags=re.MULTILINE)


def _with_own_pool(text: str, module: str) -> str:
    changes = {
        "from google.protobuf import descriptor_pool as _descriptor_pool\n": "from micro.proto import _pool\n",
        "_descriptor_pool.Default()": "_pool.POOL",
        f"_builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, '{module}', _globals)": (
            f"_pool.build(DESCRIPTOR, 'micro.proto.{module}', _globals)"
        ),
    }
    for old, new in changes.items():
        if text.count(old) != 1:
            raise SystemExit(f"{module}: protoc's output has changed: {old.strip()!r} is there {text.count(old)} times")
        text = text.replace(old, new)
    return text


def main() -> None:
    arguments = argparse.ArgumentParser(description="Generate micro.proto from proto/*.proto.")
    arguments.add_argument("--out", type=Path, default=PACKAGE, help="another folder to write to")
    target: Path = arguments.parse_args().out
    for stale in target.glob("*_pb2.py*"):
        stale.unlink()
    print(f"{len(generate(target))} files in {target}")


if __name__ == "__main__":
    main()
