"""An executed notebook → one self-contained HTML page, and the same notebook cleaned for analysts.

nbconvert's templates are not used: even with inputs hidden they load scripts from addresses, and outputs
pass through unescaped. Here the page is built from three things only: the notebook's markdown (no raw
HTML), our display blocks as data, and plain text, all escaped by one jinja template. Error output, stderr
and HTML of foreign objects never reach it.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup, escape

from crm_core.errors import RunFailed
from crm_core.reporting import svg
from crm_core.reporting.blocks import MIME
from crm_core.reporting.labels import LANGUAGES, Labels

TEMPLATES = Path(__file__).with_name("templates")
# Mainland mobile numbers, with or without +86, standing alone: a report shows counts, so any is a leak.
PHONE = re.compile(r"(?<![\w.,-])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\w,-]|\.\d)")
HIDDEN = "hidden"


@dataclass(frozen=True)
class Rendered:
    """A page, the cleaned notebook (both texts), and what run.json says about the report."""

    html: str
    notebook: str
    summary: dict[str, Any]


def render(executed: Path, *, name: str, language: str, now: dt.datetime | None = None) -> Rendered:
    """The page of an executed notebook in `language`.

    Raises RunFailed when a cell ended with an error, did not run, or a phone number stands in the output.
    """
    content = json.loads(executed.read_text(encoding="utf-8"))
    _refuse_unfinished(content, name)
    labels = Labels(language)
    parts = list(_parts(content, language))
    title, lead, parts = _title(parts, name)
    blocks = [block for part in parts if part["kind"] == "blocks" for block in part["blocks"]]
    facts = {"as_of": "", "project": "", "time_zone": "UTC"} | next(
        (b["data"] for b in _flat(blocks) if b["kind"] == "provenance"), {}
    )
    made_at = (now or dt.datetime.now(dt.UTC)).astimezone(ZoneInfo(facts["time_zone"]))
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            labels=labels,
            title=title,
            lead=lead,
            sections=_sections(parts),
            name=name,
            made_at=f"{made_at:%Y-%m-%d %H:%M}",
            facts=facts,
            **_assets(),
        )
    )
    _refuse_phones(page, name)
    return Rendered(page, _cleaned(content, language), _summary(title, blocks, facts, page))


def render_alone(block: Mapping[str, Any]) -> str:
    """One block as HTML with its style, for JupyterLab."""
    template = environment().get_template("alone.html.j2")
    return template.render(block=block, labels=Labels(block["language"]), **_assets())


@cache
def environment() -> jinja2.Environment:
    """The template environment: everything is escaped, an unknown name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["strong"] = strong
    made.globals["drawn"] = drawn
    return made


def strong(text: str) -> Markup:
    """Escaped text in which `**words**` become bold: the only markup that sentences may carry. Amounts stay on one line."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    return Markup(re.sub(r"[+−][¥$£€]\d(?:[\d,.]*\d)?", r'<span class="amount">\g<0></span>', bold))


def drawn(spec: Mapping[str, Any], alternative: str = "") -> Markup:
    """A chart's specification as inline SVG; `alternative` is what a screen reader says."""
    return _drawn(json.dumps(spec, ensure_ascii=False, sort_keys=True), alternative)


@lru_cache(maxsize=256)
def _drawn(spec: str, alternative: str) -> Markup:
    # The page and the analysts' notebook show the same drawings; identifiers come from the content, so both
    # get the same.
    prefix = "c" + hashlib.sha256(spec.encode()).hexdigest()[:8] + "-"
    return Markup(svg.render(json.loads(spec), prefix, alternative))


def _assets() -> dict[str, Any]:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return {"style": Markup(style), "policy": policy}


def assets() -> dict[str, Any]:
    """Style sheet and content security policy of every page of ours."""
    return _assets()


def _refuse_unfinished(content: Mapping[str, Any], name: str) -> None:
    for number, cell in enumerate(cell for cell in content["cells"] if cell["cell_type"] == "code"):
        failed = [output["ename"] for output in cell["outputs"] if output["output_type"] == "error"]
        if failed:
            raise RunFailed(f"{name}: code cell {number + 1} ended with {failed[0]}")
        if cell.get("execution_count") is None and "".join(cell["source"]).strip():
            raise RunFailed(f"{name}: code cell {number + 1} did not run")


def _parts(content: Mapping[str, Any], language: str) -> Iterator[dict[str, Any]]:
    """The notebook's cells as what the page shows: prose in the reader's language, blocks, plain text."""
    for cell in content["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] == "markdown":
            others = [other for other in LANGUAGES if other != language]
            if not set(tags) & {*others, HIDDEN}:
                yield {"kind": "prose", "source": "".join(cell["source"])}
        elif cell["cell_type"] == "code":
            yield from _shown(cell["outputs"])


def _shown(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] == "stdout":
                yield {"kind": "text", "text": "".join(output["text"])}
        elif output["output_type"] in ("display_data", "execute_result"):
            data = output["data"]
            if MIME in data:
                yield {"kind": "blocks", "blocks": [data[MIME]]}
            elif "text/plain" in data:
                yield {"kind": "text", "text": "".join(data["text/plain"])}


def _title(parts: list[dict[str, Any]], name: str) -> tuple[str, Markup, list[dict[str, Any]]]:
    """Title and opening text from the first markdown cell, which starts with '# '."""
    for index, part in enumerate(parts):
        if part["kind"] == "prose" and part["source"].lstrip().startswith("# "):
            heading, _, rest = part["source"].lstrip().partition("\n")
            return heading.removeprefix("# ").strip(), markdown(rest), [*parts[:index], *parts[index + 1 :]]
    return name, Markup(), parts


def _sections(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts gathered under the headings of the notebook, each with an anchor."""
    sections: list[dict[str, Any]] = []
    for part in parts:
        heading = ""
        if part["kind"] == "prose":
            first, _, rest = part["source"].lstrip().partition("\n")
            if first.startswith("## "):
                heading, part = first.removeprefix("## ").strip(), {"kind": "prose", "source": rest}
            part = {"kind": "prose", "html": markdown(part["source"])}
        if heading or not sections:
            sections.append({"heading": heading, "anchor": f"s{len(sections) + 1}", "parts": []})
        if part.get("html", True):
            sections[-1]["parts"].append(part)
    return sections


def markdown(source: str) -> Markup:
    """Markdown without raw HTML, images and addresses: links stay only when they point into the page or
    beside it."""
    return Markup(_markdown()(source.strip()))


@cache
def _markdown() -> Any:
    import mistune

    class Quiet(mistune.HTMLRenderer):
        def link(self, text: str, url: str, title: str | None = None) -> str:
            return text if ":" in url or url.startswith("//") else f'<a href="{escape(url)}">{text}</a>'

        def image(self, text: str, url: str, title: str | None = None) -> str:
            return text

    return mistune.create_markdown(renderer=Quiet(escape=True), plugins=["table"])


def _flat(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if block["kind"] == "group":
            yield from _flat(block["data"]["blocks"])
        else:
            yield block


def _refuse_phones(page: str, name: str) -> None:
    text = re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(style|title)\b.*?</\1>", " ", page))
    found = len(PHONE.findall(text))
    if found:
        raise RunFailed(f"{name}: {found} phone numbers stand in the output; reports show counts, never contacts")


def _cleaned(content: dict[str, Any], language: str) -> str:
    """The executed notebook without absolute paths and stderr, its blocks drawn for any Jupyter."""
    for cell in content["cells"]:
        cell.get("metadata", {}).pop("papermill", None)
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = [o for o in cell["outputs"] if not (o["output_type"] == "stream" and o["name"] == "stderr")]
        for output in cell["outputs"]:
            if MIME in output.get("data", {}):
                output["data"]["text/html"] = render_alone(output["data"][MIME])
    kept = {key: content["metadata"][key] for key in ("kernelspec", "language_info") if key in content["metadata"]}
    content["metadata"] = {**kept, "language": language}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _summary(title: str, blocks: list[dict[str, Any]], facts: Mapping[str, Any], page: str) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for block in _flat(blocks):
        kinds[block["kind"]] = kinds.get(block["kind"], 0) + 1
    first: Mapping[str, Any] = next((b["data"] for b in _flat(blocks) if b["kind"] == "headline"), {"cards": [], "sentence": ""})
    cards = [{"label": card["label"], "value": card["value"]} for card in first["cards"][:3]]
    return {
        "title": title,
        "sentence": first["sentence"].replace("**", ""),
        "cards": cards,
        "blocks": kinds,
        "as_of": facts.get("as_of", ""),
        "read": {key: facts[key] for key in ("snapshot", "versions", "rows", "config") if key in facts},
        "bytes": len(page.encode()),
    }
