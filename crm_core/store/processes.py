"""Other processes of this machine: whether they still run, and what those that do not run any more left on disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import psutil


def this_process() -> str:
    """This process as 'pid:start', which no later process shares."""
    process = psutil.Process(os.getpid())
    return f"{process.pid}:{process.create_time():.2f}"


def is_running(name: str) -> bool:
    """Whether the process 'pid:start' of this machine still runs."""
    try:
        pid, started = name.split(":")
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False


def clear(folder: Path, pattern: str) -> None:
    """Deletes what processes that were killed left in `folder`: a killed one cannot tidy up, and it may hold contact data.

    Names that fit `pattern` hold the process id: ingest_PID, ingest_PID_more or .name.PID.
    """
    for left in folder.glob(pattern):
        owner = re.search(r"[_.](\d+)(_\w*)?$", left.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)
