"""`Ledger`: the SQLAlchemy database that says what happened. SQLite (WAL) by default, PostgreSQL by URL.

Every write begins with BEGIN IMMEDIATE on SQLite (four writers with the default BEGIN lost 111 of 160 appends) and with an
advisory lock on PostgreSQL, so that the lease and the audit chain see one writer at a time on both; it is durable when it
returns (`synchronous=FULL`). `secure_delete` keeps deleted text from lingering in the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, column, create_engine, event, func, inspect, select, table
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from crm_core.errors import InputError, RunFailed
from crm_core.store.ledger.models import AuditEntry, ConfigText, Snapshot

HEAD = "0001"
MIGRATIONS = Path(__file__).parent.parent / "migrations"
GENESIS = "0" * 64
VERSION = table("alembic_version", column("version_num"))
ADVISORY_LOCK = 0x63726D  # 'crm'


def now() -> datetime:
    """The present instant as naive UTC, which is what the ledger and the lake keep."""
    return datetime.now(UTC).replace(tzinfo=None)


class Ledger:
    """One ledger database, migrated to the newest form when it is opened.

    Raises InputError when `url` is none that SQLAlchemy knows, RunFailed when the database cannot be opened.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = url
        self.engine = _engine(url)
        try:
            self._migrate()
        except DatabaseError as error:
            raise RunFailed(f"the ledger cannot be opened: {_reason(error)}; check its folder's permissions") from None

    @classmethod
    def in_folder(cls, folder: Path) -> Ledger:
        """The SQLite ledger of a workspace, in `folder`/ledger.db. Raises RunFailed when it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunFailed(f"{folder} cannot be made: {error.strerror}; check permissions and space") from None
        return cls(URL.create("sqlite", database=str(folder / "ledger.db")))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose changes are committed, durably, when the block ends well."""
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                session.connection(execution_options={"crm_write": True})
                yield session
        except IntegrityError:
            raise RunFailed("another process wrote the same into the ledger just now; run the command again") from None
        except OperationalError as error:
            raise RunFailed(f"the ledger could not be written: {_reason(error)}") from None

    def get(self, model: type[Any], key: Any) -> Any:
        """The row of `model` with primary key `key`, or None."""
        with self.session() as session:
            return session.get(model, key)

    def newest_snapshot(self) -> Snapshot | None:
        """The newest published snapshot, or None in a workspace without data."""
        with self.session() as session:
            return session.scalars(select(Snapshot).order_by(Snapshot.id.desc()).limit(1)).first()

    def snapshots_for(self, purpose: str) -> Sequence[Snapshot]:
        """The snapshots that were published for this purpose, newest first."""
        with self.session() as session:
            named = select(Snapshot).where(Snapshot.purpose == purpose)
            return session.scalars(named.order_by(Snapshot.id.desc())).all()

    def keep_config(self, session: Session, hash_: str, texts: dict[str, str]) -> None:
        """Keeps the settings texts under their hash, once."""
        if session.get(ConfigText, hash_) is None:
            session.add(ConfigText(hash=hash_, texts=texts))

    def audit(self, session: Session, action: str, subject: str, detail: dict[str, Any], actor: str) -> None:
        """Appends a line to the audit trail inside the caller's transaction. `detail` holds ids and counts only."""
        session.flush()
        detail = json.loads(json.dumps(detail, default=str))  # as it will be read back: keys are texts, dates too
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).first()
        previous = last.chain if last else GENESIS
        entry = AuditEntry(at=now(), actor=actor, action=action, subject=subject, detail=detail, previous=previous)
        entry.chain = _chain(entry)
        session.add(entry)
        session.flush()

    def scrub(self) -> None:
        """Leaves no deleted text behind: SQLite overwrites it (`secure_delete`), and the log of changes is emptied here."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def verify_audit(self) -> int:
        """Checks the whole chain and returns how many lines hold. Raises RunFailed naming the first line that does not."""
        previous, count = GENESIS, 0
        with self.session() as session:
            for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.id).execution_options(yield_per=1000)):
                if entry.previous != previous or entry.chain != _chain(entry):
                    raise RunFailed(f"audit line {entry.id} was changed or one before it is missing; the chain is broken")
                previous, count = entry.chain, count + 1
        return count

    def _migrate(self) -> None:
        with self.engine.connect() as connection:
            has_version = inspect(connection).has_table("alembic_version")
            current = connection.execute(select(VERSION.c.version_num)).scalar() if has_version else None
        if current == HEAD:
            return
        from alembic import command
        from alembic.config import Config as AlembicConfig
        from alembic.util import CommandError

        settings = AlembicConfig()
        settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.engine.connect() as connection:
            connection.execution_options(crm_write=True)
            settings.attributes["connection"] = connection
            try:
                command.upgrade(settings, "head")
                connection.commit()
            except CommandError:
                connection.rollback()
                raise RunFailed(
                    f"the ledger was made by a newer version (form {current}, known up to {HEAD}); update the toolkit"
                ) from None
            except SQLAlchemyError as error:
                connection.rollback()
                # another process that opened the new workspace at the same moment may have been first
                if not inspect(connection).has_table("alembic_version"):
                    raise RunFailed(f"the ledger could not be set up: {_reason(error)}") from None


def _engine(url: str | URL) -> Engine:
    try:
        engine = create_engine(url, connect_args={"timeout": 60} if str(url).startswith("sqlite") else {})
    except (ArgumentError, ImportError) as error:
        # the URL itself may hold a password and is not shown
        raise InputError(
            f"the ledger's url is not one that SQLAlchemy takes ({type(error).__name__}); "
            "write one like postgresql+psycopg://host/crm, or leave it empty for SQLite"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _begin_postgres)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event below sends BEGIN itself
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=60000", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("crm_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgres(connection: Any) -> None:
    if connection.get_execution_options().get("crm_write", False):
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def _chain(entry: AuditEntry) -> str:
    content = [entry.previous, entry.at.isoformat(), entry.actor, entry.action, entry.subject, entry.detail]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0]
