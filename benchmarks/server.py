"""From `micro server` to all ten ready, against `python -c "import grpc"`; and what ten processes hold after a while.

    python -m benchmarks.server [idle seconds]

Starts alternate; the figures are lower quartiles of 11. The first start, which makes the keys, is told apart.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MICRO = str(Path(sys.executable).with_name("micro"))
CORE = ("registry", "store", "config", "auth", "broker", "events", "network", "runtime", "proxy", "api")
ROUNDS = 11


def quartile(values):
    return statistics.quantiles(values, n=4)[0]


def command(data):
    sets = [part for name in CORE for part in ("--set", f"{name}.address=127.0.0.1:0")]
    return [MICRO, "server", "--data", str(data), *sets]


def start(data):
    """Start a server; gives it with the seconds until `server.json` was there."""
    state = data / "server.json"
    begun = time.perf_counter()
    process = subprocess.Popen(command(data), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not state.exists():
        if process.poll() is not None:
            sys.exit("the server ended; run `micro server` to see why")
        time.sleep(0.001)
    return process, time.perf_counter() - begun


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def pss(pid):
    """Give a process's share of memory, in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def bare():
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import grpc"], check=True)
    return time.perf_counter() - begun


def main():
    idle = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    folder = Path(tempfile.mkdtemp())
    os.environ["HOME"] = str(folder)
    data = folder / "data"
    try:
        process, first = start(data)
        stop(process)
        bare()
        ours, theirs = [], []
        for _ in range(ROUNDS):
            process, seconds = start(data)
            stop(process)
            ours.append(seconds)
            theirs.append(bare())
        print(f"first start, with keys      {first * 1000:7.0f} ms")
        print(
            f"second start                {quartile(ours) * 1000:7.0f} ms   (median {statistics.median(ours) * 1000:.0f})"
        )
        print(
            f"python -c 'import grpc'     {quartile(theirs) * 1000:7.0f} ms   (median {statistics.median(theirs) * 1000:.0f})"
        )
        print(f"ratio                       {quartile(ours) / quartile(theirs):7.2f}   (at most 4)")
        process, _ = start(data)
        services = json.loads((data / "server.json").read_text())["services"]
        time.sleep(idle)
        shares = {name: pss(facts["pid"]) for name, facts in services.items()}
        shares["supervisor"] = pss(process.pid)
        print(", ".join(f"{name} {share / 1024:.1f}" for name, share in shares.items()), "MiB")
        ten = sum(share for name, share in shares.items() if name != "supervisor") / 1024
        print(
            f"ten processes after {idle:g} s    {ten:7.1f} MiB PSS, with the supervisor {sum(shares.values()) / 1024:.1f} (at most 100 MB)"
        )
        stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
