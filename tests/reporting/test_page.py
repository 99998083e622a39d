"""Pages hold nothing live: no script, no address, no foreign HTML, no code, no stderr, no phone number."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crm_core.errors import RunFailed
from crm_core.reporting import blocks, charts, page, svg
from crm_core.reporting.blocks import MIME, Column
from crm_core.reporting.labels import Labels

ZH, EN = Labels("zh"), Labels("en")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Elements(HTMLParser):
    """Which elements and attributes a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def executed(tmp_path: Path, *outputs: dict[str, Any], markdown: tuple[tuple[str, ...], ...] = ()) -> Path:
    """An executed notebook with these outputs."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {"tags": list(tags)}, "source": source} for source, *tags in markdown
    ]
    cells.append({"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": list(outputs), "source": "secret_code()"})
    path = tmp_path / "toy.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return path


def shown(block: blocks.Block) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {MIME: block.as_json(), "text/plain": ""}}


def html(path: Path, language: str = "zh") -> str:
    return page.render(path, name="toy", language=language).html


def test_the_code_and_stderr_are_not_on_the_page(tmp_path: Path) -> None:
    loud = {"output_type": "stream", "name": "stderr", "text": "a warning"}
    text = html(executed(tmp_path, loud))
    assert "secret_code" not in text and "a warning" not in text


def test_html_of_foreign_objects_never_reaches_the_page(tmp_path: Path) -> None:
    data = {"text/html": HOSTILE, "text/plain": "<object>", "application/javascript": "alert(3)", "image/svg+xml": HOSTILE}
    text = html(executed(tmp_path, {"output_type": "execute_result", "metadata": {}, "data": data}))
    assert "alert" not in text and "&lt;object&gt;" in text


@pytest.mark.parametrize(
    "block",
    [
        blocks.note(ZH, HOSTILE, "warn"),
        blocks.missing(ZH, HOSTILE, HOSTILE),
        blocks.steps(ZH, (HOSTILE, HOSTILE)),
        blocks.headline(ZH, blocks.card(HOSTILE, HOSTILE, "text", ZH, sentence=HOSTILE, versus=HOSTILE), sentence=HOSTILE),
        blocks.table(pd.DataFrame({"a": [HOSTILE] * 9}), {"a": Column(HOSTILE)}, ZH, title=HOSTILE, note=HOSTILE),
        charts.bars(pd.DataFrame({"a": [HOSTILE, "b"], "n": [1, 2]}), "a", "n", "count", ZH, title=HOSTILE, subtitle=HOSTILE),
    ],
    ids=lambda block: block.kind,
)
def test_hostile_text_in_our_own_blocks_stays_text(tmp_path: Path, block: blocks.Block) -> None:
    text = html(executed(tmp_path, shown(block)))
    live = Elements()
    live.feed(text)
    assert not live.names & {"script", "img", "iframe", "object", "embed"}
    assert not [name for name in live.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in text


def test_an_amount_is_not_broken_behind_its_sign() -> None:
    shown = page.strong("**a** +¥1,234.50 to −$2.00, 1+1 < 3")
    kept = [f'<span class="amount">{amount}</span>' for amount in ("+¥1,234.50", "−$2.00")]
    assert shown == f"<strong>a</strong> {kept[0]} to {kept[1]}, 1+1 &lt; 3"


def test_markdown_holds_no_raw_html_no_image_and_no_address(tmp_path: Path) -> None:
    links = "![x](http://evil.example/a.png) [go](https://evil.example) [js](javascript:alert(1)) [in](#s1)"
    source = f"# T\n\n{links}\n\n{HOSTILE} inline {HOSTILE}"
    text = html(executed(tmp_path, markdown=((source,),)))
    assert "evil.example" not in text and "javascript:" not in text and "<img" not in text and '<a href="#s1">' in text


def test_prose_is_shown_in_the_readers_language_only(tmp_path: Path) -> None:
    path = executed(tmp_path, markdown=(("# 标题", "zh"), ("# Title", "en"), ("## 节", "zh"), ("## Section", "en")))
    zh, en = html(path), html(path, "en")
    assert "标题" in zh and "节" in zh and "Title" not in zh and 'lang="zh-CN"' in zh
    assert "Title" in en and "Section" in en and "标题" not in en and 'lang="en"' in en


def test_the_policy_forbids_everything_but_the_one_inlined_style_sheet(tmp_path: Path) -> None:
    text = html(executed(tmp_path, shown(blocks.note(ZH, "好"))))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert policy and style and text.count("<style") == 1
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].replace("&#39;", "'").startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "style=" not in text and "http" not in text.replace("http-equiv", "")


def test_a_phone_number_in_the_output_stops_the_page(tmp_path: Path) -> None:
    for number in ("13800138000", "+86 138-0013-8000", "tel 19912345678。"):
        with pytest.raises(RunFailed, match="phone numbers stand in the output"):
            html(executed(tmp_path, shown(blocks.note(ZH, number))))
    fine = "13,800,138,000 行 0.13800138000 2026-10-31 a13800138000b 1380013800"
    assert fine in html(executed(tmp_path, shown(blocks.note(ZH, fine))))


def test_a_cell_with_an_error_or_one_that_did_not_run_stops_the_page(tmp_path: Path) -> None:
    failed = {"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": []}
    with pytest.raises(RunFailed, match="code cell 1 ended with KeyError"):
        html(executed(tmp_path, failed))
    path = executed(tmp_path)
    path.write_text(path.read_text().replace('"execution_count": 1', '"execution_count": null'))
    with pytest.raises(RunFailed, match="code cell 1 did not run"):
        html(path)


def test_at_most_seven_rows_are_visible_before_more(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": [f"row{i}" for i in range(12)], "n": range(12)})
    text = html(executed(tmp_path, shown(blocks.table(frame, {"name": Column("名"), "n": Column("数", "count")}, ZH))))
    before, after = text.split('<details class="more">')
    assert before.count(">row") == 7 and "row7" in after and "更多 5 行" in after


def test_every_chart_is_drawn_for_wide_pages_and_for_phones_with_titles_on_its_marks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"g": ["重要价值", "新客"], "n": [1200, 300]})
    text = html(executed(tmp_path, shown(charts.bars(frame, "g", "n", "people", ZH, title="各组人数"))))
    assert text.count("<svg") == 2 and text.count("<title>重要价值: 1,200 人</title>") >= 2
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_chart_that_names_an_address_is_refused() -> None:
    with pytest.raises(RunFailed, match="names an address"):
        svg.render({"data": {"url": "https://evil.example/data.json"}, "mark": "bar"}, "c")


def test_svg_is_reduced_to_drawing_elements() -> None:
    drawn = svg.clean(
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script>alert(1)</script>'
        '<image href="http://evil.example"/><rect id="a" onclick="x()" fill="url(#a)" style="x"/>'
        '<rect fill="url(http://evil.example)"/><foreignObject/></svg>',
        "p-",
    )
    assert drawn == '<svg viewBox="0 0 10 10" role="img"><rect id="p-a" fill="url(#p-a)" /><rect /></svg>'


def test_the_published_notebook_shows_the_blocks_in_any_jupyter(tmp_path: Path) -> None:
    rendered = page.render(executed(tmp_path, shown(blocks.note(EN, "fine"))), name="toy", language="en")
    output = json.loads(rendered.notebook)["cells"][0]["outputs"][0]
    assert "fine" in output["data"]["text/html"]


def test_in_jupyterlab_a_block_draws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_REPORT", raising=False)
    assert "你好" in blocks.note(ZH, "你好")._repr_mimebundle_()["text/html"]
    monkeypatch.setenv("CRM_REPORT", "1")
    assert "text/html" not in blocks.note(ZH, "你好")._repr_mimebundle_()
