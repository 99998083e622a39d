"""kill -9 at many points of a command, then the same command again: is all as if it had never been killed?

    python -m tests.soak.kills --points 200 [--commands ingest,undo,compact,vacuum,erase] [--seed 1]

Half of the points are file events (a file made, written, closed, moved, deleted) spread evenly over those of a run that is
not killed, half are moments spread evenly over its time. Prints one JSON object; ends with 1 when a point did not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.soak import harness

COMMANDS = ("ingest", "undo", "erase", "compact", "vacuum")
UNSEEN = ("compact", "vacuum", "erase")  # these leave all tables as they are
AGAIN = {0, 2}  # 2: 'was taken back before', where the kill came after everything was published


def arguments_of(command: str, base: Path) -> list[str]:
    """The words of a command over the workspace `base`."""
    files = base.parent / "files"
    if command == "ingest":
        return ["ingest", "corner_shop", str(files / harness.LAST)]
    if command == "undo":
        return ["undo", harness.loads_of(base)[1]]  # the middle one of three
    if command == "erase":
        return ["erase", "--account", "corner_shop:M3"]
    return [command]


def trial(base: Path, work: Path, arguments: list[str], expected: dict[str, Any], **kill: float) -> dict[str, Any]:
    """One kill and the command once more; what differs from a run that was never killed."""
    root, log = harness.copied(base, work / "trial"), work / "log"
    first = harness.watched(root, arguments, event=int(kill.get("event", 0)), seconds=kill.get("seconds", 0))
    code = harness.ended(harness.crm(root, *arguments, log=log))
    found = harness.state(root)
    differing = [name for name in ("lake", "vault", "ledger") if found[name] != expected[name]]
    wrong = {name: what for name, what in found["wrong"].items() if what}
    held = code in AGAIN and not differing and harness.sound(found)
    said = "" if held else log.read_text()[-400:]
    print(f"{arguments[0]} {kill}: {'held' if held else 'FAILED'}", file=sys.stderr, flush=True)
    return {**kill, "killed": first.code == -9, "again": code, "held": held, "differing": differing,
            "wrong": wrong, "said": said}  # fmt: skip


def soak(commands: list[str], points: int, seed: int) -> dict[str, Any]:
    """Spreads `points` kills over the commands. Returns the counts, and what did not hold."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="crm-kills-") as folder:
        work = Path(folder)
        base = harness.prepare(work)
        found: dict[str, Any] = {}
        for place, command in enumerate(commands):
            share = points // len(commands) + (place < points % len(commands))
            arguments = arguments_of(command, base)
            whole = harness.watched(harness.copied(base, work / "whole"), arguments, log=work / "log")
            if whole.code:
                raise SystemExit(f"{command} fails without any kill: {(work / 'log').read_text()[-2000:]}")
            expected = harness.state(work / "whole")
            if not harness.sound(expected):
                raise SystemExit(f"{command}: {expected['wrong']}")
            if command not in UNSEEN and harness.state(base)["lake"] == expected["lake"]:
                raise SystemExit(f"{command} changes nothing here, so a kill could not be told")
            kills: list[dict[str, float]] = [
                {"event": 1 + (number + rng.random()) * (whole.events - 1) // (share - share // 2)}
                for number in range(share - share // 2)
            ]
            kills += [{"seconds": (number + rng.random()) * whole.seconds / (share // 2)} for number in range(share // 2)]
            trials = [trial(base, work, arguments, expected, **kill) for kill in kills]
            found[command] = {
                "events": whole.events, "seconds": round(whole.seconds, 2), "points": len(trials),
                "killed": sum(each["killed"] for each in trials), "held": sum(each["held"] for each in trials),
                "failed": [each for each in trials if not each["held"]],
            }  # fmt: skip
    return {"seed": seed, "points": points, "held": sum(each["held"] for each in found.values()), "commands": found}


def main() -> int:
    """Returns 0 when every point held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = soak(asked.commands.split(","), asked.points, asked.seed)
    print(json.dumps(found, ensure_ascii=False, indent=2))
    return 0 if found["held"] == asked.points else 1


if __name__ == "__main__":
    raise SystemExit(main())
