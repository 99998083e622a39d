"""What optional tests need, and whether this machine has it. `python -m tests.require` prints what will be skipped and why."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

REQUIRE_ALL = os.environ.get("CRM_REQUIRE_ALL") == "1"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def chromium() -> str | None:
    """Path of the browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def postgres_bin() -> Path | None:
    """Folder of PostgreSQL's server programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else (Path(on_path).parent if on_path else None)


def mariadb_bin() -> tuple[str, str] | None:
    """MariaDB's programs that make and serve a data folder, or None."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = shutil.which("mariadb-install-db", path=path), shutil.which("mariadbd", path=path)
    return (found[0], found[1]) if found[0] and found[1] else None


def spark() -> bool:
    """Whether Spark can run here."""
    return importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None


WANTED = {
    "chromium (apt install chromium)": lambda: chromium() is not None,
    "a PostgreSQL server (apt install postgresql)": lambda: postgres_bin() is not None,
    "a MariaDB server (apt install mariadb-server)": lambda: mariadb_bin() is not None,
    "Spark (make spark, and Java 17)": spark,
}


def need(available: object, what: str) -> None:
    """Skips the test for want of `what`; fails instead where CRM_REQUIRE_ALL=1 says that nothing may be missing."""
    if available:
        return
    if REQUIRE_ALL:
        pytest.fail(f"CRM_REQUIRE_ALL=1 but this machine has no {what}")
    pytest.skip(f"this machine has no {what}")


def main() -> None:
    """Prints one line for each thing that is missing."""
    for what, present in WANTED.items():
        if not present():
            print(f"will be skipped: tests that need {what}")
    if not SHARED.is_dir():
        print("will be skipped: tests on public data sets, which are not part of this repository")


if __name__ == "__main__":
    main()
