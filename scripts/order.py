#!/usr/bin/env python
"""Write `server/order.txt`: what the core services' processes run, so that it can lie side by side in memory.

    scripts/order.py [seconds]

Starts a server whose processes note each function that they run, leaves it alone for some seconds, and asks them. To be
run again when much has changed; a name that is not found any more does no harm.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.server import command, stop

import micro.server.order as here

FILE = Path(here.__file__).with_name("order.txt")

# Stands before `micro`: from each fork on, what is run is noted, and written when SIGUSR2 asks for it.
NOTING = r"""
import json, os, signal, sys
from micro.cli import launch

fork = os.fork

def forked():
    pid = fork()
    if pid == 0:
        note()
    return pid

def note():
    seen = {}

    def run(frame, event, _):
        if event == "call":
            seen.setdefault(frame.f_code, frame.f_globals.get("__name__", ""))

    def tell(*_):
        sys.setprofile(None)
        facts = [[module, code.co_qualname, names_of(code)] for code, module in seen.items()]
        path = os.path.join(sys.argv[1], str(os.getpid()))
        with open(path + ".part", "w") as file:
            json.dump(facts, file)
        os.rename(path + ".part", path)

    signal.signal(signal.SIGUSR2, tell)
    sys.setprofile(run)

def names_of(code):
    names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    return [*names, *(each for each in code.co_consts if type(each) is str and each.isidentifier())]

os.fork = forked
launch.end(launch.main(sys.argv[2:]))
"""


def noted(seconds):
    """Give, for each core service, the functions that its process ran: module, qualified name, names in its code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["HOME"] = scratch
        data = folder / "data"
        _, *words = command(data)
        process = subprocess.Popen([sys.executable, "-c", NOTING, scratch, *words], stdout=subprocess.DEVNULL)
        while not (data / "server.json").exists():
            if process.poll() is not None:
                sys.exit("the server ended; run `micro server` to see why")
            time.sleep(0.05)
        time.sleep(seconds)
        pids = [facts["pid"] for facts in json.loads((data / "server.json").read_text())["services"].values()]
        for pid in pids:
            os.kill(pid, signal.SIGUSR2)
        files = [folder / str(pid) for pid in pids]
        while not all(file.exists() for file in files):
            time.sleep(0.05)
        found = [json.loads(file.read_text()) for file in files]
        stop(process)
        return found


def main():
    functions, names = defaultdict(set), defaultdict(set)
    for at, found in enumerate(noted(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)):
        for module, qualname, used in found:
            if "importlib" not in module:
                functions[f"{module} {qualname}"].add(at)
            for name in filter(str.isascii, used):
                names[name].add(at)
    words = in_order(names)
    lines = in_order(functions)
    FILE.write_text(textwrap.fill(" ".join(words), 120) + "\n\n" + "\n".join(lines) + "\n", encoding="ascii")
    print(f"{len(lines)} functions and {len(words)} names in {FILE}")


def in_order(users):
    """Give first what most processes use, and beside it what the same ones do; what one alone uses is left out."""
    shared = (each for each in users if len(users[each]) > 1)
    return sorted(shared, key=lambda each: (-len(users[each]), sorted(users[each]), each))


if __name__ == "__main__":
    main()
