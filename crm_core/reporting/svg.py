"""Vega-Lite specification → a static SVG that may stand inline in a page.

Static SVG was chosen over the inlined chart library: no script at all in a report (so the content security
policy can forbid every script), charts print and scale, text is the reader's own font, and a page is some
tens of kilobytes instead of one megabyte. Values on hover come as the `title` of each mark. Whatever is not
on the short list of drawing elements and attributes is dropped; identifiers are made unique per chart; no
address survives.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from crm_core.errors import RunFailed

SPACE = "http://www.w3.org/2000/svg"
ELEMENTS = {"svg", "g", "path", "rect", "line", "circle", "text", "tspan", "defs", "clipPath", "linearGradient", "stop", "title"}
ATTRIBUTES = {
    "viewBox",
    "transform",
    "d",
    "x",
    "y",
    "x1",
    "y1",
    "x2",
    "y2",
    "cx",
    "cy",
    "r",
    "rx",
    "ry",
    "width",
    "height",
    "dx",
    "dy",
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-miterlimit",
    "opacity",
    "font-size",
    "font-weight",
    "font-style",
    "text-anchor",
    "display",
    "dominant-baseline",
    "clip-path",
    "id",
    "offset",
    "stop-color",
    "gradientUnits",
    "role",
    "aria-label",
    "aria-hidden",
}
ET.register_namespace("", SPACE)
LOCAL_URL = re.compile(r"^url\(#([\w-]+)\)$")
FONT = '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif'


def render(spec: Mapping[str, Any], prefix: str, alternative: str = "") -> str:
    """SVG text of `spec` with identifiers starting with `prefix`, described by `alternative`. Raises
    RunFailed for a spec that names an address."""
    import vl_convert

    if _names_address(spec):
        raise RunFailed("a chart names an address; charts carry their data themselves")
    drawn = vl_convert.vegalite_to_svg(dict(spec), vl_version=_version(), allowed_base_urls=[])
    return clean(drawn, prefix, alternative)


def clean(text: str, prefix: str, alternative: str = "") -> str:
    """`text` reduced to drawing elements, ready to stand inline."""
    root = ET.fromstring(text)
    width, height = root.get("width", ""), root.get("height", "")
    _clean(root, prefix)
    root.set("viewBox", root.get("viewBox") or f"0 0 {width} {height}")
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    if alternative:
        root.set("aria-label", alternative)
    return ET.tostring(root, encoding="unicode").replace(f' xmlns="{SPACE}"', "", 1)  # HTML needs none


def _clean(node: ET.Element, prefix: str) -> None:
    _titled(node)
    for name in list(node.attrib):
        value = node.attrib[name]
        local = LOCAL_URL.match(value)
        if name not in ATTRIBUTES or (re.search(r"url\(|javascript:|//", value) and not local and name != "aria-label"):
            del node.attrib[name]
        elif local:
            node.attrib[name] = f"url(#{prefix}{local[1]})"
        elif name == "id":
            node.attrib[name] = prefix + value
    for child in list(node):
        if child.tag.removeprefix(f"{{{SPACE}}}") not in ELEMENTS:
            node.remove(child)
        else:
            _clean(child, prefix)


def _titled(node: ET.Element) -> None:
    # A mark's description becomes its tooltip; axis and legend descriptions (English, long) are left out.
    label = node.attrib.pop("aria-label", "")
    symbol = node.attrib.pop("role", "") == "graphics-symbol"
    if label and symbol and node.get("aria-roledescription", "") not in ("axis", "legend", "title", "header"):
        title = ET.Element(f"{{{SPACE}}}title")
        title.text = label
        node.insert(0, title)


def _names_address(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(key in ("url", "href") or _names_address(item) for key, item in value.items() if key != "$schema")
    if isinstance(value, list):
        return any(_names_address(item) for item in value)
    return False


def _version() -> str:
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
