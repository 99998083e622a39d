"""`connect`: the ibis backend of a workspace – DuckDB inside the process, or Spark behind the extra.

Memory and spill come from conf. DuckDB's extensions are never downloaded; the session's zone is UTC, so that no result
depends on the machine's own. Temporary tables live in the connection and vanish with it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from crm_core.config.project import EngineSettings
from crm_core.errors import InputError, RunFailed
from crm_core.store import processes

STREAM_BYTES = 512 * 2**20
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def connect(settings: EngineSettings, spill: Path, share: int = 1) -> Any:
    """An ibis backend. `spill` is where it may write what does not fit; `share` divides the memory among processes.

    Raises RunFailed when the spill folder cannot be made, InputError when Spark is asked for but not installed.
    """
    try:
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise RunFailed(f"the spill folder {spill} cannot be made: {error.strerror}; check permissions and space") from None
    if settings.kind == "spark":
        return _connect_spark(spill)
    processes.clear(spill, "duckdb_*")
    options: dict[str, Any] = {
        "memory_limit": _memory(settings.memory_limit, share),
        "temp_directory": str(spill / f"duckdb_{os.getpid()}_{secrets.token_hex(4)}"),
        "max_temp_directory_size": settings.spill_limit,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    if settings.threads:
        options["threads"] = settings.threads
    return ibis.duckdb.connect(":memory:", **options)


@contextmanager
def frugal(engine: Any) -> Iterator[None]:
    """Holds DuckDB to STREAM_BYTES for each thread, for work that streams and buffers whatever it is given; a smaller limit
    stays. Does nothing where more is in use already.
    """
    before = engine.settings["memory_limit"]
    small = STREAM_BYTES * int(engine.settings["threads"])
    number, unit = before.split()
    if float(number) * 1024 ** UNITS.index(unit) > small:
        with suppress(duckdb.OutOfMemoryException):
            engine.settings["memory_limit"] = f"{small}B"
    try:
        yield
    finally:
        engine.settings["memory_limit"] = f"{float(number) + 0.01:.2f}{unit}"  # it is shown with its digits cut off


def read_parquet(engine: Any, paths: list[str]) -> ir.Table:
    """Parquet files as one table with the columns that any of them has."""
    if engine.name == "duckdb":
        return engine.read_parquet(paths, hive_partitioning=False, union_by_name=True)
    from pyspark.sql import SparkSession

    name = gen_name("files")  # ibis hands Spark one path
    SparkSession.active().read.parquet(*paths, mergeSchema=True).createOrReplaceTempView(name)
    return engine.table(name)


def count(rows: ir.Table) -> int:
    """Rows of a table."""
    return int(rows.count().to_pyarrow().as_py())


def _memory(limit: str, share: int) -> str:
    if limit != "auto":
        return limit
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{max(total // 2 // max(share, 1) // 2**20, 512)}MB"


def _connect_spark(spill: Path) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise InputError("engine kind 'spark' needs the extra: install crm-core[spark] (make spark) and Java 17") from None
    session = (
        SparkSession.builder.master("local[*]")
        .appName("crm")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.timestampType", "TIMESTAMP_NTZ")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.local.dir", str(spill))
        .config("spark.sql.warehouse.dir", str(spill / "warehouse"))
        .getOrCreate()
    )
    return ibis.pyspark.connect(session)
