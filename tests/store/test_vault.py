"""The vault: keyed hashes, private files, contacts per load, suppressions, its key."""

from __future__ import annotations

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.errors import InputError, RunFailed
from crm_core.store import Ledger, Vault, now
from crm_core.store.ledger import Load


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.in_folder(tmp_path / "ledger")


@pytest.fixture
def vault(tmp_path: Path, ledger: Ledger, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.delenv("CRM_VAULT_KEY", raising=False)
    return Vault(tmp_path / "我的 vault 100%", ledger, engine)


def state(ledger: Ledger, load_id: str, word: str) -> None:
    counts = dict.fromkeys(("rows_read", "rows_accepted", "rows_duplicate", "rows_rejected"), 0)
    with ledger.transaction() as session:
        session.merge(Load(load_id=load_id, source="s", state=word, started_at=now(), finished_at=now(), detail={}, **counts))


def contacts(rows: list[tuple[str, str, str, bool, int]], load_id: str) -> Any:
    return ibis.memtable(
        pa.table(
            {
                "member_id": [row[0] for row in rows],
                "kind": [row[1] for row in rows],
                "value": [row[2] for row in rows],
                "valid": [row[3] for row in rows],
                "problem": pa.array([None] * len(rows), pa.string()),
                "seen_at": pa.array([datetime(2026, 1, row[4]) for row in rows], pa.timestamp("us")),
                "first_seen_at": pa.array([datetime(2026, 1, row[4]) for row in rows], pa.timestamp("us")),
                "load_id": [load_id] * len(rows),
            }
        )
    )


def accounts(*members: str, load_id: str) -> Any:
    count = len(members)
    columns = {"member_id": list(members), "namespace": ["tmall"] * count, "account_id": [f"名 {m}" for m in members]}
    return ibis.memtable(pa.table({**columns, "load_id": [load_id] * count}))


@settings(max_examples=25, deadline=None)
@given(
    key=st.binary(min_size=16, max_size=64),
    values=st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), min_size=1),
)
def test_keyed_is_python_s_hmac_for_any_text_and_key_and_null_stays_null(engine: Any, key: bytes, values: list[str | None]) -> None:
    vault = object.__new__(Vault)
    vault.key = key
    table = ibis.memtable(pa.table({"n": list(range(len(values))), "v": pa.array(values, pa.string())}))
    made = vault.keyed(table, {"h": ("名 space", "v"), "short": ("x", "v")})
    rows = engine.to_pyarrow(made.order_by("n")).to_pylist()
    assert list(made.columns) == ["n", "v", "h", "short"]
    for row, value in zip(rows, values, strict=True):
        expected = None if value is None else hmac.new(key, f"名 space\x1f{value}".encode(), hashlib.sha256).hexdigest()
        assert row["h"] == expected
        assert value is None or row["h"] == vault.hmac_one("名 space", value) != row["short"]


def test_a_member_id_is_the_beginning_of_the_account_s_hmac(vault: Vault, engine: Any) -> None:
    table = ibis.memtable(pa.table({"v": ["张三"]}))
    made = engine.to_pyarrow(vault.keyed(table, {"member_id": ("tmall", "v")}, length=24))["member_id"][0].as_py()
    assert made == vault.member_id("tmall", "张三") and len(made) == 24


def test_only_its_owner_may_read_anything_in_it(vault: Vault, ledger: Ledger) -> None:
    state(ledger, "l1", "live")
    vault.put("contacts", "l1", contacts([("m", "phone", "+8613800138000", True, 1)], "l1"))
    vault.put("accounts", "l1", accounts("m", load_id="l1"))
    vault.suppress([{"kind": "phone", "value_hmac": "h", "reason": "r", "source": "s"}])
    for path in [vault.folder, *vault.folder.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert not list(vault.folder.rglob("*.partial"))


def test_contacts_are_read_only_while_their_load_is_live(vault: Vault, ledger: Ledger, engine: Any) -> None:
    vault.put("contacts", "l1", contacts([("m", "phone", "+861", True, 1), ("n", "phone", "+862", True, 1)], "l1"))
    assert engine.to_pyarrow(vault.contacts("phone")).num_rows == 0
    state(ledger, "l1", "live")
    assert engine.to_pyarrow(vault.contacts("phone")).num_rows == 2
    state(ledger, "l1", "undone")
    assert engine.to_pyarrow(vault.contacts("phone")).num_rows == 0


def test_each_member_has_the_newest_valid_contact_of_a_kind(vault: Vault, ledger: Ledger, engine: Any) -> None:
    state(ledger, "l1", "live")
    state(ledger, "l2", "live")
    vault.put("contacts", "l1", contacts([("m", "phone", "+861", True, 1), ("m", "phone", "+862", True, 5)], "l1"))
    vault.put("contacts", "l2", contacts([("m", "phone", "broken", False, 9), ("m", "email", "a@b.c", True, 9)], "l2"))
    assert engine.to_pyarrow(vault.contacts("phone")).to_pylist() == [{"member_id": "m", "value": "+862"}]
    assert engine.to_pyarrow(vault.contacts("email")).to_pylist() == [{"member_id": "m", "value": "a@b.c"}]


def test_forgetting_a_load_empties_its_files_and_an_older_contact_returns(vault: Vault, ledger: Ledger, engine: Any) -> None:
    for load_id, value, day in (("l1", "+861", 1), ("l2", "+862", 2)):
        state(ledger, load_id, "live")
        vault.put("contacts", load_id, contacts([("m", "phone", value, True, day)], load_id))
        vault.put("accounts", load_id, accounts("m", load_id=load_id))
    known = vault.accounts().select("namespace", "account_id").distinct()
    assert engine.to_pyarrow(known).to_pylist() == [{"namespace": "tmall", "account_id": "名 m"}]
    before = vault.contacts("phone")
    assert engine.to_pyarrow(before).to_pylist() == [{"member_id": "m", "value": "+862"}]
    vault.forget_load("l2")
    vault.forget_load("l2")
    assert engine.to_pyarrow(before).to_pylist() == [{"member_id": "m", "value": "+861"}], "who reads does not fail"
    assert engine.to_pyarrow(vault.contacts("phone")).to_pylist() == [{"member_id": "m", "value": "+861"}]
    assert pq.read_table(vault.folder / "contacts" / "l2.parquet").num_rows == 0


def test_a_load_is_forgotten_while_the_next_writer_sweeps(vault: Vault, ledger: Ledger, tmp_path: Path, engine: Any) -> None:
    other = Vault(vault.folder, Ledger.in_folder(tmp_path / "ledger"), engine)
    state(ledger, "l1", "undone")
    with ledger.transaction() as session:
        session.query(Load).update({"undone_at": now()})
    rows = contacts([(f"m{at}", "phone", f"+86138{at:08d}", True, 1) for at in range(3000)], "l1").to_pyarrow()
    path = vault.folder / "contacts" / "l1.parquet"
    path.parent.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(60):
            pq.write_table(rows, path)
            for done in [pool.submit(vault.forget_load, "l1"), pool.submit(other.sweep)]:
                done.result()
            assert not pq.read_metadata(path).num_rows and [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_sweep_takes_what_dead_loads_left_and_nothing_else(vault: Vault, ledger: Ledger) -> None:
    state(ledger, "live", "live")
    state(ledger, "undone", "undone")
    state(ledger, "just undone", "undone")
    with ledger.transaction() as session:
        session.get(Load, "just undone").undone_at = now()
    for load_id in ("live", "undone", "just undone", "never published"):
        vault.put("accounts", load_id, accounts("m", load_id=load_id))
    (vault.folder / "accounts" / "live.partial").touch()
    vault.suppress([{"kind": "phone", "value_hmac": "h", "reason": "r", "source": "s"}])
    vault.sweep()
    held = {path.name: pq.read_metadata(path).num_rows for path in (vault.folder / "accounts").iterdir()}
    assert held == {"live.parquet": 1, "just undone.parquet": 0}
    assert {"key", "key_check", "suppressions.parquet"} <= {path.name for path in vault.folder.iterdir()}


def test_a_refusal_counts_once_and_its_version_changes_only_with_the_list(vault: Vault, engine: Any) -> None:
    empty = vault.suppression_version()
    rows = [{"kind": "phone", "value_hmac": mac, "reason": "TD", "source": "reply"} for mac in ("a", "b", "a")]
    assert vault.suppress(rows, datetime(2026, 1, 1)) == 2
    first = vault.suppression_version()
    assert vault.suppress(rows, datetime(2026, 2, 2)) == vault.suppress([]) == 0
    assert empty != first == vault.suppression_version()
    assert vault.suppress([{**rows[0], "kind": "email"}]) == 1
    assert vault.suppression_version() != first
    held = engine.to_pyarrow(vault.suppressions()).to_pylist()
    assert sorted((row["kind"], row["value_hmac"]) for row in held) == [("email", "a"), ("phone", "a"), ("phone", "b")]
    assert {row["added_at"] for row in held if row["kind"] == "phone"} == {datetime(2026, 1, 1)}


def test_the_key_is_made_once_and_found_again(vault: Vault, ledger: Ledger, engine: Any) -> None:
    assert Vault(vault.folder, ledger, engine).key == vault.key and len(vault.key) == 32


def test_the_key_comes_from_the_environment_and_is_then_not_written(
    tmp_path: Path, ledger: Ledger, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_VAULT_KEY", "ab" * 32)
    vault = Vault(tmp_path / "v", ledger, engine)
    assert vault.key == b"\xab" * 32
    assert not (vault.folder / "key").exists()
    assert "ab" * 32 not in (vault.folder / "key_check").read_text()


@pytest.mark.parametrize("given", ["not hex", "abcd", "ab" * 65])
def test_a_key_that_is_none_is_refused(
    tmp_path: Path, ledger: Ledger, engine: Any, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("CRM_VAULT_KEY", given)
    with pytest.raises(InputError, match="CRM_VAULT_KEY is not a key; it takes 32 to 128 hex digits"):
        Vault(tmp_path / "v", ledger, engine)


def test_a_key_other_than_the_one_the_vault_began_with_is_refused(
    vault: Vault, ledger: Ledger, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_VAULT_KEY", "cd" * 32)
    with pytest.raises(InputError, match=r"CRM_VAULT_KEY is not the key that .* was made with"):
        Vault(vault.folder, ledger, engine)
    monkeypatch.setenv("CRM_VAULT_KEY", vault.key.hex())
    assert Vault(vault.folder, ledger, engine).key == vault.key


@pytest.mark.parametrize("content", ["", "zz", "abcd"])
def test_a_damaged_key_file_is_an_error_and_not_another_key(vault: Vault, ledger: Ledger, engine: Any, content: str) -> None:
    (vault.folder / "key").write_text(content)
    with pytest.raises(RunFailed, match="is damaged; bring it back from a copy"):
        Vault(vault.folder, ledger, engine)


def test_no_statement_of_the_engine_holds_the_key(vault: Vault) -> None:
    made = vault.keyed(ibis.memtable(pa.table({"v": ["x"]})), {"h": ("s", "v")})
    text = ibis.to_sql(made, dialect="duckdb")
    inner = bytes(byte ^ 0x36 for byte in vault.key.ljust(64, b"\0")).hex()
    assert vault.key.hex() not in text and inner not in text
