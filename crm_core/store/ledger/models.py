"""The ledger's tables: who did what, when, from which versions, with which hashes, how many. Small rows only."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Date, DateTime, ForeignKey, Integer, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
Number = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Base of the ledger's rows."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {dict[str, Any]: JSON, list[Any]: JSON}


class Snapshot(Base):
    """One published state of the lake: the version of every table. Readers open these and nothing else."""

    __tablename__ = "snapshots"
    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    created_at: Mapped[datetime] = mapped_column(DateTime)
    purpose: Mapped[str] = mapped_column(String(200))
    versions: Mapped[dict[str, Any]]
    covers_until: Mapped[date | None] = mapped_column(Date)


class Load(Base):
    """One `crm ingest` call: reconciliation, and whether it was taken back."""

    __tablename__ = "loads"
    load_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    source: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20))
    started_at: Mapped[datetime] = mapped_column(DateTime)
    finished_at: Mapped[datetime] = mapped_column(DateTime)
    undone_at: Mapped[datetime | None] = mapped_column(DateTime)
    snapshot_id: Mapped[int | None] = mapped_column(Number)
    rows_read: Mapped[int] = mapped_column(Number)
    rows_accepted: Mapped[int] = mapped_column(Number)
    rows_duplicate: Mapped[int] = mapped_column(Number)
    rows_rejected: Mapped[int] = mapped_column(Number)
    detail: Mapped[dict[str, Any]]


class LoadFile(Base):
    """One file of a load, known by the hash of its bytes."""

    __tablename__ = "load_files"
    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    load_id: Mapped[str] = mapped_column(ForeignKey("loads.load_id"), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(300))
    feed: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(Number)
    rows_read: Mapped[int] = mapped_column(Number)
    rows_accepted: Mapped[int] = mapped_column(Number)
    rows_duplicate: Mapped[int] = mapped_column(Number)
    rows_rejected: Mapped[int] = mapped_column(Number)
    detail: Mapped[dict[str, Any]]


class ConfigText(Base):
    """Every settings file as it was, by hash: what a rebuild reads instead of today's."""

    __tablename__ = "config_texts"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    texts: Mapped[dict[str, Any]]


class Run(Base):
    """One run of the nightly work or of notebooks: what it read and the hashes of what it made."""

    __tablename__ = "runs"
    run_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    as_of: Mapped[date] = mapped_column(Date)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"))
    config_hash: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(DateTime)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime)
    results: Mapped[dict[str, Any]]
    detail: Mapped[dict[str, Any]]


class Report(Base):
    """One notebook of a run: where its report is, or why there is none."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("run_id", "notebook", "language"),)
    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.run_id"), index=True)
    notebook: Mapped[str] = mapped_column(String(100))
    language: Mapped[str] = mapped_column(String(5))
    state: Mapped[str] = mapped_column(String(20))
    path: Mapped[str] = mapped_column(String(400))
    published_at: Mapped[datetime] = mapped_column(DateTime)
    detail: Mapped[dict[str, Any]]


class Audience(Base):
    """One frozen target list with its control."""

    __tablename__ = "audiences"
    __table_args__ = (UniqueConstraint("campaign", "wave", "as_of"),)
    audience_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    campaign: Mapped[str] = mapped_column(String(100))
    wave: Mapped[int] = mapped_column(Integer)
    as_of: Mapped[date] = mapped_column(Date)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id"))
    config_hash: Mapped[str] = mapped_column(String(64))
    salt: Mapped[str] = mapped_column(String(80))
    rows_hash: Mapped[str] = mapped_column(String(64))
    frozen_at: Mapped[datetime] = mapped_column(DateTime)
    counts: Mapped[dict[str, Any]]
    detail: Mapped[dict[str, Any]]


class Export(Base):
    """One hand-off of an audience to a platform."""

    __tablename__ = "exports"
    export_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    audience_id: Mapped[str] = mapped_column(ForeignKey("audiences.audience_id"), index=True)
    platform: Mapped[str] = mapped_column(String(60))
    hand_off_at: Mapped[datetime] = mapped_column(DateTime)
    suppression_version: Mapped[str] = mapped_column(String(64))
    payload_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime)
    counts: Mapped[dict[str, Any]]
    detail: Mapped[dict[str, Any]]


class AuditEntry(Base):
    """One line of the append-only audit trail; `chain` hashes the line together with the one before it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(DateTime)
    actor: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64), unique=True)
    chain: Mapped[str] = mapped_column(String(64), unique=True)


class Lease(Base):
    """Who may write the lake now. `fence` grows with every new holder, so that a late one is noticed."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    purpose: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime)
    fence: Mapped[int] = mapped_column(Number)
