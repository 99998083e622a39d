"""`make soak`: the long runs, one after the other; ends with 1 when any of them fails.

python -m tests.soak [--seed N] [--campaigns 1000] [--files 10000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CANNOT = 77  # what a run ends with that this machine does not permit; it says why


def main() -> int:
    """Runs every soak and returns how many failed (0: all held)."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--files", type=int, default=10_000)
    asked = parser.parse_args()
    python = sys.executable
    runs = {
        "coverage of the interval, false alarms": [
            python, "tests/soak/coverage.py", "--campaigns", str(asked.campaigns), "--seed", str(asked.seed),
        ],
        "properties, a thousand examples each": [
            python, "-m", "pytest", "-q", "-m", "hypothesis", "--hypothesis-profile=soak",
            f"--hypothesis-seed={asked.seed}", "--timeout=7200", "tests",
        ],
        "damaged files of every preset": [
            python, "tests/soak/mutations.py", "--files", str(asked.files), "--seed", str(asked.seed),
        ],
        "kills at 200 points, then the same command again": [python, "-m", "tests.soak.kills", "--seed", str(asked.seed)],
        "fifty power cuts": [python, "-m", "tests.soak.power_cut", "--seed", str(asked.seed)],
        "pairs of processes": [python, "-m", "tests.soak.pairs", "--rounds", "8", "--seed", str(asked.seed)],
        "purchase models: known parameters, held-out members": [
            python, "-m", "tests.soak.purchases", "--seed", str(asked.seed),
        ],
        "databases lost in the middle of a stream": [python, "-m", "tests.soak.databases", "20"],
    }  # fmt: skip
    failed = []
    for name, command in runs.items():
        print(f"== {name}", flush=True)
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode
        if code not in (0, CANNOT):
            failed.append(name)
    print("all held" if not failed else f"FAILED: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
