"""A command's time against `python -c pass`: of the installed wheels, with their bytecode, on the server's machine.

    python -m benchmarks.cli

Commands alternate; the figures are lower quartiles of 11. `micro server` runs meanwhile, and one service.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from micro.testing.platform import Platform

ROOT = Path(__file__).parents[1]
ROUNDS = 11
WARM = 3  # rounds that are not counted: the first of each writes bytecode, and logs in
COMMANDS = {  # what is typed, and how many bare starts it may take
    "--version": 1.5,
    "helloworld --name=x": 3.0,
    "services": 6.0,
    "status": 6.0,
    "store read greeting": 6.0,
}


def quartile(values):
    return statistics.quantiles(values, n=4)[0]


def timed(argv, env):
    begun = time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def measured(platform, python):
    """Give the seconds of each command, and of a bare start under ``."""
    argvs = {"": [python, "-c", "pass"]} | {words: [platform.launcher, *words.split()] for words in COMMANDS}
    env = {name: value for name, value in platform.env.items() if not name.startswith("PYTHON")}
    took = {words: [] for words in argvs}
    for at in range(WARM + ROUNDS):
        for words, argv in argvs.items():
            seconds = timed(argv, env)
            if at >= WARM:
                took[words].append(seconds)
    return took


def main():
    folder = Path(tempfile.mkdtemp())
    environment = folder / "environment"
    platform = Platform(folder, micro=environment / "bin" / "micro")
    try:
        subprocess.run([ROOT / "scripts" / "package", folder / "wheels", environment], check=True)
        platform.start()
        platform.run(ROOT / "examples" / "helloworld")
        platform.micro("store", "write", "greeting", "hello")
        took = measured(platform, environment / "bin" / "python")
        bare = quartile(took.pop(""))
        print(f"{'python -c pass':27} {bare * 1000:7.1f} ms")
        for words, values in took.items():
            print(
                f"{'micro ' + words:27} {quartile(values) * 1000:7.1f} ms   (median {statistics.median(values) * 1000:.1f})"
                f"   ratio {quartile(values) / bare:5.2f}   (at most {COMMANDS[words]:g})"
            )
    finally:
        platform.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
