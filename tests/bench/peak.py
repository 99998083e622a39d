"""The most memory that this process has held."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> int:
    """Peak resident MB. Not `ru_maxrss`: a child's begins with its parent's, while this begins anew with each program."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
