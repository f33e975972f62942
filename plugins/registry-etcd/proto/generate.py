# ruff: noqa: INP001 -- a script, not a module of a package
"""Write the messages of etcd.proto into the package, or into another folder; a test proves that they are fresh."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src" / "micro_registry_etcd"

if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else str(PACKAGE)
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", *outputs, "etcd.proto"], check=True)
