"""A source's database, opened for reading only: one transaction, as of one moment, and errors without a secret in them.

What a driver says may hold the URL's parts or values of members (`invalid input for integer: '138…'`), so its text is
shown only where it is about names and syntax.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from crm_core.config.sources import SourceSettings
from crm_core.errors import CrmError, InputError, RunFailed

DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
FORM = "write one like postgresql+psycopg://user:password@host:5432/shop"
CONNECT: dict[str, dict[str, Any]] = {
    # a server that vanishes without a word is noticed within a minute
    "postgresql": {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
    "mysql": {"connect_timeout": 10},
}
ABOUT_NAMES = {1054, 1060, 1064, 1142, 1146}  # MySQL: column, name twice, syntax, permission, table
REFUSED = {"28P01", "28000", "1045", "1044", "1698"}
NO_DATABASE = {"3D000", "1049"}


def url_of(settings: SourceSettings) -> URL:
    """The database's URL, from the environment. InputError where it is not set or none."""
    assert settings.database is not None
    name, where = settings.database.url_env, f"conf/sources/{settings.source}.yml"
    text = os.environ.get(name, "")
    if not text:
        raise InputError(f"{where}: database.url_env names the environment variable {name}, which is not set; {FORM}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError(f"{where}: what the environment variable {name} holds is no SQLAlchemy URL; {FORM}") from None
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


@contextmanager
def reading(settings: SourceSettings) -> Iterator[Connection]:
    """A connection in one read-only transaction that sees one state of the database throughout.

    InputError where URL or driver are wrong, RunFailed where the server does not answer or goes away.
    """
    url = url_of(settings)
    engine = _engine(settings, url)
    options: dict[str, Any] = {"stream_results": True}
    if engine.dialect.name in ("postgresql", "mysql", "mariadb"):
        options["isolation_level"] = "REPEATABLE READ"
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    try:
        try:
            connection = engine.connect().execution_options(**options)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise RunFailed(_unreachable(settings, error)) from None
        driver = connection.connection.dbapi_connection
        try:
            yield connection
            connection.close()
        except BaseException:
            with suppress(Exception):
                _drop(connection, driver)
            raise
    finally:
        engine.dispose()


@contextmanager
def database_errors(settings: SourceSettings, feed: str, rows: list[int]) -> Iterator[None]:
    """Turns what goes wrong while `feed` is read into our errors; `rows` holds how many came so far."""
    name = f"database:{feed}"
    try:
        yield
    except CrmError:
        raise
    except DBAPIError as error:
        code, text = _code(error), _about_names(error)
        if text or type(error).__name__ == "ProgrammingError":
            raise InputError(
                f"{name}: the database does not take what conf/sources/{settings.source}.yml asks for: {text or code}"
            ) from None
        if _is_about_values(error, code):
            raise InputError(
                f"{name}: a value near row {sum(rows) + 1:,} cannot be read or computed ({code}); leave its column "
                "out, or convert it in a query of your own"
            ) from None
        raise RunFailed(
            f"{name}: the database went away or gave up after {sum(rows):,} rows ({code}); nothing was loaded and the "
            "watermark stays: run the same command again"
        ) from None
    except (SQLAlchemyError, ValueError, OverflowError) as error:
        raise InputError(
            f"{name}: a value near row {sum(rows) + 1:,} cannot be read ({type(error).__name__}); leave its column "
            "out, or convert it in a query of your own"
        ) from None


def _drop(connection: Connection, driver: Any) -> None:
    """Closes at once; MySQL's driver would first read the rest of the rows, or complain that it cannot."""
    result = getattr(driver, "_result", None)
    if result is not None:
        result.unbuffered_active = False
    connection.invalidate()


def _engine(settings: SourceSettings, url: URL) -> Engine:
    assert settings.database is not None
    name, kind = settings.database.url_env, url.get_backend_name()
    options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
    if kind == "sqlite":
        options["creator"] = _sqlite_file(settings, url)
    else:
        given = CONNECT.get("mysql" if kind == "mariadb" else kind, {})
        options["connect_args"] = {key: value for key, value in given.items() if key not in url.query}
    if kind in EXTRAS:
        options["json_deserializer"] = lambda raw: raw.decode() if isinstance(raw, bytes) else raw  # digits stay as they are
    try:
        engine = create_engine(url, **options)
    except ImportError:
        extra = f"install the extra: pip install 'crm-core[{EXTRAS[kind]}]'" if kind in EXTRAS else "install its driver"
        raise InputError(f"the driver of {url.drivername} is not installed, which {name} asks for; {extra}") from None
    except (SQLAlchemyError, TypeError, ValueError):
        raise InputError(f"SQLAlchemy does not take the URL in {name} ({url.drivername}); {FORM}") from None
    prepare = {"sqlite": _prepare_sqlite, "mysql": _prepare_mysql, "mariadb": _prepare_mysql}.get(kind)
    if prepare:
        event.listen(engine, "connect", prepare)
    if kind == "sqlite":
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _sqlite_file(settings: SourceSettings, url: URL) -> Any:
    path = Path(url.database or "")
    if not path.is_file():
        raise InputError(f"the SQLite file of source '{settings.source}' does not exist; check the path in its URL")
    address = f"file:{quote(str(path.resolve()))}?mode=ro"  # opened otherwise, a file that is not there would be made
    return lambda: sqlite3.connect(address, uri=True, timeout=60)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the begin event sends BEGIN


def _prepare_mysql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")
        cursor.execute("SET SESSION time_zone = '+00:00'")  # TIMESTAMP columns are shown in the session's zone


def _unreachable(settings: SourceSettings, error: Exception) -> str:
    assert settings.database is not None
    code, said = _code(error), str(getattr(error, "orig", error))  # libpq gives no code before a session stands
    absent = re.search(r'(role|database) ".*" does not exist', said)
    if code in REFUSED or "authentication failed" in said or (absent and absent[1] == "role"):
        found, do = "refuses user or password", "check both in the URL"
    elif code in NO_DATABASE or absent:
        found, do = "has no database of that name", "check the name in the URL"
    else:
        found, do = "does not answer", "check host and port, and that the server runs and lets this user in"
    return f"the database of source '{settings.source}' {found} ({code}); {do} ({settings.database.url_env})"


def _code(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    first = original.args[0] if original.args else None
    state = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    return str(first if isinstance(first, int) else state or type(original).__name__)


def _about_names(error: DBAPIError) -> str:
    """The driver's own words where they are about names or syntax; else empty."""
    original: Any = error.orig
    state, first = getattr(original, "sqlstate", None), original.args[0] if original and original.args else ""
    if isinstance(first, int):
        return str(original.args[1]).splitlines()[0] if first in ABOUT_NAMES and len(original.args) > 1 else ""
    if isinstance(state, str) and state.startswith("42"):
        return str(original).splitlines()[0]
    text = str(first)
    named = text.startswith(("no such", "near ", "unknown database", "ambiguous column", "incomplete input"))
    return text.splitlines()[0] if isinstance(original, sqlite3.Error) and named else ""


def _is_about_values(error: DBAPIError, code: str) -> bool:
    broken_text = isinstance(error.orig, sqlite3.OperationalError) and "UTF-8" in str(error.orig)
    return type(error).__name__ == "DataError" or code.startswith("22") or broken_text
