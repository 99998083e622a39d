"""Contact data and account ids lie in the vault and in what is handed over; every other byte that the toolkit writes or says
is searched for every phone, e-mail, name and account id of a simulated shop.
"""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crm_core.simulate import simulate
from crm_core.store import Ledger
from crm_core.store.ledger import Load
from tests.end_to_end.byte_search import names_people, people_in

CRM = Path(sys.executable).parent / "crm"
WHO = {"会员卡号", "姓名", "手机号", "邮箱"}
pytestmark = pytest.mark.slow


def members_file(raw: Path) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the shop's member export."""
    (path,) = raw.glob("会员资料*.csv")
    content = path.read_bytes()
    text = content.decode("utf-8-sig") if content.startswith(b"\xef\xbb\xbf") else content.decode("gb18030")
    headings, *rows = csv.reader(io.StringIO(text))
    return headings, rows


def everybody(raw: Path) -> set[str]:
    """Every phone, e-mail, name and account id in the member export; masked and empty ones are nobody's."""
    headings, rows = members_file(raw)
    places = [at for at, heading in enumerate(headings) if heading.strip() in WHO]
    assert len(places) == len(WHO)
    found = {row[at].strip().lstrip("'") for row in rows if len(row) == len(headings) for at in places}
    return {each for each in found if len(each) > 1 and "*" not in each and each != "NULL"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(workspace, raw files, everything that commands said) after loads, reports, a hand-off and every kind of error."""
    folder = tmp_path_factory.mktemp("privacy")
    raw, root = folder / "raw", folder / "我的 数据 100%"
    simulate(raw, members=2_000, days=150, events=0.2)
    headings, rows = members_file(raw)
    bad = folder / "bad"
    bad.mkdir()
    texts = {
        "无表头.csv": rows[:50],  # people where headings should be
        "会员资料_错列.csv": [headings, *[[row[-1], *row[:-1]] for row in rows[:50]]],  # every cell one column off
        "会员资料_坏引号.csv": [headings, *rows[50:60]],
    }
    for name, lines in texts.items():
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        (bad / name).write_text(out.getvalue() + ('"never closed,' if "坏" in name else ""), encoding="utf-8")
    (bad / "会员资料_截断.csv.gz").write_bytes(b"\x1f\x8b\x08" + rows[0][1].encode())
    (bad / "会员资料_假.xlsx").write_bytes(b"PK\x03\x04" + ",".join(rows[1]).encode())
    (bad / "短信回执.csv").write_text("phone,status\n" + "\n".join(f"{row[2]},?" for row in rows[:20]))
    commands: list[tuple[str, ...]] = [
        ("ingest", "sample", str(raw)),
        ("loads",),
        ("campaign", "freeze", "winback_at_risk"),
        ("campaign", "export", "winback_at_risk"),
        ("campaign", "receipts", "winback_at_risk", str(bad / "短信回执.csv")),
        ("run", "data_health", "--language", "en"),
        *[("ingest", "sample", str(path)) for path in sorted(bad.iterdir())],
        ("member", "--account", "sample:nobody"),
        ("campaign", "export", "winback_at_risk", "--at", "yesterday"),
        ("undo", "no-such-load"),
        ("audit",),
    ]
    said = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CRM_")}
    for words in commands:
        done = subprocess.run(
            [CRM, "--workspace", root, *words, "--json"], capture_output=True, text=True, timeout=500, env=environment
        )
        said.append(f"$ {words[:2]} -> {done.returncode}\n{done.stdout}{done.stderr}")
        assert "Traceback" not in said[-1], said[-1]
    loads = Ledger.in_folder(root / "data" / "ledger")
    with loads.session() as session:
        for load in session.query(Load).all():
            done = subprocess.run(
                [CRM, "--workspace", root, "rejects", load.load_id, "--limit", "5000"],
                capture_output=True, text=True, timeout=500, env=environment,
            )  # fmt: skip
            said.append(done.stdout + done.stderr)
    return root, raw, "\n".join(said)


def test_the_shop_did_all_of_it(shop: tuple[Path, Path, str]) -> None:
    root, _, said = shop
    codes = re.findall(r"-> (\d)", said)
    assert codes.count("0") >= 6 and codes.count("2") >= 5, said[:3000]
    assert list(root.glob("data/exports/*/*/payload/*.csv")) and list(root.glob("reports/**/*.html"))
    assert list(root.glob("data/lake/rejects/**/*.parquet")) and list(root.glob("data/vault/refused/*.parquet"))


def test_no_file_outside_the_vault_and_the_payload_names_anybody(shop: tuple[Path, Path, str]) -> None:
    root, raw, _ = shop
    people = everybody(raw)
    assert len(people) > 4_000
    assert people_in(root, people, ("vault", "payload")) == {}
    inside = people_in(root, people)
    assert {part for path in inside for part in Path(path).parts if part in ("vault", "payload")} == {"vault", "payload"}


def test_no_command_says_anybody_s_name(shop: tuple[Path, Path, str]) -> None:
    _, raw, said = shop
    assert names_people(said, everybody(raw)) == set()


@pytest.mark.parametrize("how", ["text", "parquet", "ledger"])
def test_a_planted_person_is_found(shop: tuple[Path, Path, str], tmp_path: Path, how: str) -> None:
    _, raw, _ = shop
    people = everybody(raw)
    phone = next(each for each in sorted(people) if re.fullmatch(r"1\d{10}", each))
    name = next(each for each in sorted(people) if re.fullmatch(r"[\u4e00-\u9fff]{2,}", each))
    if how == "text":
        (tmp_path / "a.log").write_text(f"call +86{phone}, 收货人{name}女士")
    elif how == "parquet":
        pq.write_table(pa.table({"a": [f"0086{phone}"] * 9, "b": [[name]] * 9}), tmp_path / "a.parquet", compression="zstd")
    else:
        ledger = Ledger.in_folder(tmp_path)
        with ledger.transaction() as session:
            ledger.audit(session, "test", phone, {"who": name}, "mei")
    assert {each for found in people_in(tmp_path, people).values() for each in found} >= {phone, name}
