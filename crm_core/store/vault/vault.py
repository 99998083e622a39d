"""`Vault`: the only place with contact data and account ids, in a folder of mode 0700 without history.

One Parquet file per load and table, so that taking a load back is deleting its files. Only loads that the ledger says are
live are read; files that a dead load left behind go with the next writer. Ids and contacts leave only as keyed HMACs.
pyarrow's column encryption was tried: touching an encrypted column without its key aborts the process, hence a folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from crm_core.errors import InputError, RunFailed
from crm_core.schema import empty
from crm_core.store.hashing import SEPARATOR
from crm_core.store.ledger import Ledger, Load, now
from crm_core.store.vault.files import locked, publish, write_once
from crm_core.store.vault.tables import PER_LOAD, SUPPRESSIONS

ERASED = "erased_"  # kinds of suppressions that say whose rows are refused for ever
ID_LENGTH = 24  # 96 bits: 10^8 members collide with probability 6e-14
BLOCK = 64
MIN_KEY = 16


@ibis.udf.scalar.builtin
def sha256(value: bytes) -> str:
    """SHA-256 in hex, as the engine has it."""


@ibis.udf.scalar.builtin
def unhex(value: str) -> bytes:
    """Bytes of a hex text."""


@ibis.udf.scalar.builtin(name="hex")
def to_hex(value: str) -> str:
    """Hex of a text's UTF-8 bytes."""


class Vault:
    """The vault in `folder`. The key is CRM_VAULT_KEY (hex) or made on first use in `folder`/key."""

    def __init__(self, folder: Path, ledger: Ledger, engine: Any) -> None:
        self.folder, self.ledger, self.engine = folder, ledger, engine
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
        except OSError as error:
            raise RunFailed(f"{folder} cannot be made private: {error.strerror}; check permissions") from None
        self.key = self._read_key()
        self._check_key()

    def keyed(self, table: ir.Table, columns: Mapping[str, tuple[str, str]], length: int = 64) -> ir.Table:
        """`table` with new columns of HMAC-SHA256 hex: {new: (namespace, column)} → HMAC(key, namespace + US + value).

        Null stays null. Computed in the engine; the padded key comes in through a one-row table, because a literal would
        stand in the statement and so in error messages.
        """
        block = self.key.ljust(BLOCK, b"\0")
        pads = ibis.memtable(
            pa.table(
                {"_inner": [bytes(byte ^ 0x36 for byte in block).hex()], "_outer": [bytes(byte ^ 0x5C for byte in block).hex()]}
            )
        )
        joined = table.cross_join(pads)
        made = {
            new: sha256(unhex(joined._outer + sha256(unhex(joined._inner + to_hex(prefix + joined[column])))))[:length]
            for new, (prefix, column) in {
                new: (ibis.literal(space + SEPARATOR), column) for new, (space, column) in columns.items()
            }.items()
        }
        return joined.mutate(**made).drop("_inner", "_outer")

    def hmac_one(self, namespace: str, value: str) -> str:
        """The same HMAC (64 hex characters) for a single value."""
        return hmac.new(self.key, f"{namespace}{SEPARATOR}{value}".encode(), hashlib.sha256).hexdigest()

    def member_id(self, namespace: str, account_id: str) -> str:
        """The pseudonymous id of one account."""
        return self.hmac_one(namespace, account_id)[:ID_LENGTH]

    def put(self, name: str, load_id: str, rows: ir.Table) -> None:
        """Writes one load's rows of 'accounts', 'contacts' or 'refused', durably; they are read once the load is
        published.
        """
        schema = PER_LOAD[name]
        path = self._path(name, load_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        types = ibis.schema(schema.types())
        typed = rows.select(**{column: rows[column].cast(kind) for column, kind in types.items()})
        partial = path.with_suffix(".partial")
        try:
            reader = self.engine.to_pyarrow_batches(typed, chunk_size=100_000)
            with pq.ParquetWriter(partial, types.to_pyarrow(), compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch.cast(types.to_pyarrow()))
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise RunFailed(f"the vault could not be written: {error.strerror or error}; nothing was published") from None
        publish(partial, path)

    def accounts(self) -> ir.Table:
        """member_id, namespace, account_id, load_id over the live loads."""
        return self._live("accounts")

    def contacts(self, kind: str) -> ir.Table:
        """member_id, value: for each member the newest valid contact of `kind` ('phone', 'email')."""
        rows = self._live("contacts")
        valid = rows.filter(rows.kind == kind, rows.valid)
        order = [valid.seen_at.desc(nulls_first=False), valid.value.asc()]
        rank = ibis.row_number().over(ibis.window(group_by="member_id", order_by=order))
        return valid.mutate(_rank=rank).filter(lambda t: t._rank == 0).select("member_id", "value")

    def stated(self) -> ir.Table:
        """Every contact of the live loads: member_id, kind, value, valid, seen_at, first_seen_at, load_id."""
        return self._live("contacts")

    def refused(self, load_id: str) -> Path | None:
        """The Parquet file of the rows that a load refused, as they were read; None where none are kept (any more)."""
        path = self._path("refused", load_id)
        return path if _holds_rows(path) else None

    def forget_load(self, load_id: str) -> None:
        """Empties the files of one load. They stay for a day, as those who read them meanwhile would fail for want of them.

        Whoever takes a load back does so once that is published, and so beside the next writer, who sweeps.
        """
        with locked(self.folder):
            for name in PER_LOAD:
                path = self._path(name, load_id)
                if _holds_rows(path):
                    partial = path.with_suffix(".partial")
                    pq.write_table(pq.read_schema(path).empty_table(), partial)
                    publish(partial, path)

    def sweep(self, keep_refused_days: int | None = None) -> None:
        """Deletes files of loads that were never published or were taken back, and refused rows of loads that are older
        than `keep_refused_days`; only a lake writer may call this.
        """
        live, today = self._loads(Load.state == "live"), self._loads(Load.undone_at > now() - timedelta(days=1))
        for load_id in today:
            self.forget_load(load_id)
        with locked(self.folder):
            for name in PER_LOAD:
                for path in (self.folder / name).glob("*"):
                    if path.stem not in live | today or path.suffix != ".parquet":
                        path.unlink(missing_ok=True)
        if keep_refused_days is not None:
            for load_id in self._loads(Load.started_at < now() - timedelta(days=keep_refused_days)):
                self._path("refused", load_id).unlink(missing_ok=True)

    def erased(self, kind: str) -> ir.Table | None:
        """value_hmac of what was erased of `kind` ('account', 'member', 'phone', 'email'); None when nobody ever was."""
        listed = self.suppressions()
        found = listed.filter(listed.kind == f"{ERASED}{kind}").select("value_hmac").to_pyarrow()
        return ibis.memtable(found) if found.num_rows else None

    def erased_members(self, members: ir.Table) -> ir.Table | None:
        """Those of `members` (a column member_id) who were erased; None when nobody ever was."""
        listed = self.erased("member")
        if listed is None:
            return None
        keyed = self.keyed(members.select("member_id").distinct(), {"_hash": ("member", "member_id")})
        return keyed.semi_join(listed, keyed._hash == listed.value_hmac).select("member_id")

    def erased_version(self) -> str:
        """A hash that changes whenever somebody is erased."""
        return self._version(lambda kind: kind.startswith(ERASED))

    def suppressions(self) -> ir.Table:
        """All refusals: kind, value_hmac, reason, source, added_at."""
        path = self.folder / "suppressions.parquet"
        if not path.exists():
            return empty(SUPPRESSIONS)
        return ibis.memtable(pq.read_table(path))

    def suppress(self, rows: list[dict[str, Any]], added_at: datetime | None = None) -> int:
        """Adds refusals {kind, value_hmac, reason, source}; one already there counts nothing. Returns how many were new."""
        path = self.folder / "suppressions.parquet"
        types = ibis.schema(SUPPRESSIONS.types()).to_pyarrow()
        with locked(self.folder):
            held = pq.read_table(path).to_pylist() if path.exists() else []
            known = {(row["kind"], row["value_hmac"]) for row in held}
            stamp = added_at or now()
            fresh = {
                (row["kind"], row["value_hmac"]): {**row, "added_at": stamp}
                for row in rows
                if (row["kind"], row["value_hmac"]) not in known
            }
            if fresh:
                table = pa.Table.from_pylist([*held, *fresh.values()], schema=types)
                partial = path.with_suffix(".partial")
                pq.write_table(table, partial)
                publish(partial, path)
        return len(fresh)

    def suppression_version(self) -> str:
        """A hash that changes whenever the list of refusals does."""
        return self._version(lambda _: True)

    def _version(self, wanted: Callable[[str], bool]) -> str:
        path = self.folder / "suppressions.parquet"
        rows = pq.read_table(path, columns=["kind", "value_hmac"]).to_pylist() if path.exists() else []
        rows = [row for row in rows if wanted(row["kind"])]
        text = "\n".join(sorted(f"{row['kind']}:{row['value_hmac']}" for row in rows))
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, name: str, load_id: str) -> Path:
        return self.folder / name / f"{load_id}.parquet"

    def _loads(self, which: Any) -> set[str]:
        with self.ledger.session() as session:
            return set(session.scalars(select(Load.load_id).where(which)))

    def _live(self, name: str) -> ir.Table:
        live = self._loads(Load.state == "live")
        paths = sorted(str(path) for path in (self.folder / name).glob("*.parquet") if path.stem in live)
        if not paths:
            return empty(PER_LOAD[name])
        return self.engine.read_parquet(paths, hive_partitioning=False, union_by_name=True)

    def _read_key(self) -> bytes:
        given = os.environ.get("CRM_VAULT_KEY", "")
        if given:
            try:
                key = bytes.fromhex(given)
            except ValueError:
                key = b""
            if not MIN_KEY <= len(key) <= BLOCK:
                raise InputError("CRM_VAULT_KEY is not a key; it takes 32 to 128 hex digits (16 to 64 bytes)")
            return key
        path = self.folder / "key"
        try:
            if not path.exists():
                write_once(path, secrets.token_hex(32))
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        except OSError as error:
            raise RunFailed(f"the vault's key cannot be read or written: {error.strerror}; check permissions and space") from None
        if len(key) < MIN_KEY:
            raise RunFailed(f"{path} is damaged; bring it back from a copy, without it no contact can be matched again")
        return key

    def _check_key(self) -> None:
        """Refuses a key that is not the one this vault began with: every member would get a second id."""
        path, wanted = self.folder / "key_check", self.hmac_one("vault", "key check")
        if not path.exists():
            write_once(path, wanted)
        if path.read_text().strip() != wanted:
            raise InputError(
                f"CRM_VAULT_KEY is not the key that {self.folder} was made with; give that key, or none where it has its own"
            )


def _holds_rows(path: Path) -> bool:
    return path.exists() and bool(pq.read_metadata(path).num_rows)
