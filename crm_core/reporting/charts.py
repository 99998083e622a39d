"""Charts of the reports: one theme, four forms, each drawn twice (for a wide page and for a phone).

Scaling one drawing down to 390 pixels makes its text unreadable, so each chart carries two specifications
and the page shows the one that fits. Colours are from the Okabe-Ito palette (told apart by colour-blind
readers and in grey print); text is dark; values are written next to the marks, so that nobody has to read
them off an axis. Frames hold only what is drawn, some dozens of rows; the texts in them are formatted by
`numbers.show`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from crm_core.reporting import numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.labels import Labels
from crm_core.reporting.svg import FONT

ACCENT = "#0a66a8"
PALE = "#c5d3e2"
AGAINST = "#d98a4a"
INK = "#1c2430"
MUTED = "#5b6675"
LINE = "#dfe4ea"
SERIES = (ACCENT, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a8594")
GOOD, BAD, NEUTRAL = "#00795a", "#c04a00", "#7a8594"
RAMP = ("#edf3f9", "#0b4f86")
AXIS_FORMATS = {"percent": "~%", "points": "~%", "money": ",~r"}


@dataclass(frozen=True)
class Size:
    """Where a drawing goes: its width in pixels and whether that is a phone."""

    width: int
    narrow: bool

    @property
    def label_limit(self) -> int:
        """Most pixels for a category's name."""
        return 104 if self.narrow else 220


WIDE, NARROW = Size(880, False), Size(330, True)


def chart(labels: Labels, build: Callable[[Size], Any], *, title: str, subtitle: str = "", alternative: str = "") -> Block:
    """A chart block from `build`, which returns an Altair chart for a size. `alternative`: what it shows,
    for a screen reader."""
    data = {
        "title": title,
        "subtitle": subtitle,
        "alternative": alternative or title,
        "wide": themed(build(WIDE)).to_dict(),
        "narrow": themed(build(NARROW)).to_dict(),
    }
    return Block("chart", labels.language, data)


def themed(drawing: Any) -> Any:
    """`drawing` with our fonts, colours and quiet axes."""
    axis = {
        "labelColor": INK,
        "titleColor": MUTED,
        "labelFontSize": 13,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domain": False,
        "ticks": False,
        "gridColor": LINE,
        "labelPadding": 6,
    }
    return (
        drawing.configure(font=FONT, background="transparent", padding={"left": 0, "right": 6, "top": 4, "bottom": 2})
        .configure_view(stroke=None)
        .configure_axis(**axis)
        .configure_text(font=FONT, fontSize=13, color=INK)
        .configure_legend(
            orient="top",
            direction="horizontal",
            title=None,
            labelFontSize=13,
            labelColor=INK,
            symbolType="square",
            labelLimit=260,
            offset=6,
        )
    )


def bars(
    frame: pd.DataFrame,
    category: str,
    value: str,
    unit: str,
    labels: Labels,
    *,
    title: str,
    subtitle: str = "",
    currency: str = "CNY",
    signed: bool = False,
) -> Block:
    """Horizontal bars in the frame's order, the value at each bar's end.

    `signed`: values with plus and minus, coloured by direction.
    """
    rows = _rows(frame, category, value, unit, labels, currency, signed)
    rows["colour"] = [ACCENT if size >= 0 else AGAINST for size in rows["size"]]
    height = max(1, len(rows)) * 32

    def build(size: Size) -> Any:
        base = _across(rows, size, room=0.34 if size.narrow else 0.16)
        drawn = base.mark_bar(cornerRadiusEnd=2, height=18).encode(color=alt.Color("colour:N", scale=None))
        positive = alt.datum.size >= 0
        after = base.mark_text(align="left", dx=6).encode(text="text:N").transform_filter(positive)
        before = base.mark_text(align="right", dx=-6).encode(text="text:N").transform_filter(~positive)
        return fitted(drawn + after + before, size, height)

    return chart(labels, build, title=title, subtitle=subtitle, alternative=_spoken(title, rows))


def _across(rows: pd.DataFrame, size: Size, room: float) -> Any:
    """A name per line and sizes to its right, with `room` for the texts at their ends."""
    span = _domain(rows["size"], room=room)
    return alt.Chart(rows).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=size.label_limit)),
        x=alt.X("size:Q", title=None, axis=None, scale=alt.Scale(domain=span, nice=False)),
        description="hover:N",
    )


def paired_bars(
    frame: pd.DataFrame,
    category: str,
    series: dict[str, str],
    unit: str,
    labels: Labels,
    *,
    title: str,
    subtitle: str = "",
    currency: str = "CNY",
) -> Block:
    """Two or three bars per category to compare (share of members and share of sales): `series` maps column
    → legend text."""
    parts = []
    for column, name in series.items():
        part = _rows(frame, category, column, unit, labels, currency, False)
        parts.append(part.assign(series=name))
    rows = pd.concat(parts, ignore_index=True)
    rows["hover"] = rows["name"] + " · " + rows["series"] + " " + rows["text"]
    names = list(series.values())
    colours = [PALE, ACCENT, *SERIES[1:]] if len(names) == 2 else list(SERIES)
    height = max(1, len(frame)) * (20 * len(names) + 8)

    def build(size: Size) -> Any:
        base = _across(rows, size, room=0.3 if size.narrow else 0.12).encode(yOffset=alt.YOffset("series:N", sort=names))
        colour = alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=colours[: len(names)]))
        drawn = base.mark_bar(cornerRadiusEnd=2).encode(color=colour)
        shown = base.mark_text(align="left", dx=5, fontSize=12, color=MUTED).encode(text="text:N")
        return fitted(drawn + shown, size, height)

    return chart(labels, build, title=title, subtitle=subtitle, alternative=_spoken(title, rows))


def grid(
    frame: pd.DataFrame,
    x: str,
    y: str,
    value: str,
    labels: Labels,
    *,
    title: str,
    x_title: str,
    y_title: str,
    subtitle: str = "",
    unit: str = "people",
    text: str = "",
    below: str = "",
    hover: str = "",
) -> Block:
    """A heat map of x × y with the number in each cell (`text`: column to write instead), and `below` it a
    name where there is room; axes keep the frame's order."""
    bare = "count" if unit == "people" else unit
    rows = pd.DataFrame(
        {
            "x": frame[x].astype(str),
            "y": frame[y].astype(str),
            "size": [0.0 if numbers.is_null(v) or isinstance(v, str) else float(v) for v in frame[value]],
            "text": frame[text] if text else [numbers.show(v, bare, language=labels.language) for v in frame[value]],
        }
    )
    rows["below"] = frame[below] if below else ""
    rows["hover"] = frame[hover] if hover else rows["y"] + " × " + rows["x"] + ": " + rows["text"]
    greatest = float(rows["size"].max() or 1)
    rows["ink"] = ["#ffffff" if size > 0.62 * greatest else INK for size in rows["size"]]
    across, down = list(dict.fromkeys(rows["x"])), list(dict.fromkeys(rows["y"]))

    def build(size: Size) -> Any:
        base = alt.Chart(rows).encode(
            x=alt.X("x:N", sort=across, title=x_title, axis=alt.Axis(labelAngle=0, orient="top", labelLimit=size.label_limit)),
            y=alt.Y("y:N", sort=down, title=y_title, axis=alt.Axis(labelLimit=size.label_limit)),
            description="hover:N",
        )
        scale = alt.Scale(range=list(RAMP), domain=[0, greatest])
        cells = base.mark_rect(stroke="#ffffff", strokeWidth=2, cornerRadius=3).encode(
            color=alt.Color("size:Q", scale=scale, legend=None)
        )
        lifted = -7 if below and not size.narrow else 0
        written = base.mark_text(fontSize=12 if size.narrow else 15, dy=lifted).encode(
            text="text:N", color=alt.Color("ink:N", scale=None)
        )
        drawn = cells + written
        if below and not size.narrow:
            named = base.mark_text(fontSize=11, dy=15).encode(text="below:N", color=alt.Color("ink:N", scale=None))
            drawn = drawn + named
        drawn = drawn.resolve_scale(color="independent")
        return fitted(drawn, size, len(down) * (44 if size.narrow else 58) + 40)

    return chart(
        labels, build, title=title, subtitle=subtitle, alternative=_spoken(title, rows.assign(name=rows["y"] + "×" + rows["x"]))
    )


def forest(
    frame: pd.DataFrame,
    name: str,
    estimate: str,
    low: str,
    high: str,
    unit: str,
    labels: Labels,
    *,
    title: str,
    subtitle: str = "",
    currency: str = "CNY",
) -> Block:
    """Estimates with their intervals on one axis and a line at zero; green above it, orange below, grey
    when it is inside."""
    rows = pd.DataFrame({"name": frame[name].astype(str)})
    for key, column in (("size", estimate), ("low", low), ("high", high)):
        rows[key] = [float(value) for value in frame[column]]
    shown = {key: [_signed(value, unit, labels, currency) for value in rows[key]] for key in ("size", "low", "high")}
    rows["text"] = [f"{a}  [{b}, {c}]" for a, b, c in zip(*shown.values(), strict=True)]
    rows["hover"] = rows["name"] + ": " + rows["text"]
    rows["colour"] = [GOOD if b > 0 else BAD if c < 0 else NEUTRAL for b, c in zip(rows["low"], rows["high"], strict=True)]
    least, most = min(0.0, float(rows["low"].min())), max(0.0, float(rows["high"].max()))
    room = (most - least or 1.0) * 0.06

    def build(size: Size) -> Any:
        x = alt.X(
            "size:Q",
            title=None,
            scale=alt.Scale(domain=[least - room, most + room], nice=False),
            axis=alt.Axis(
                tickCount=4 if size.narrow else 6, format=AXIS_FORMATS.get(unit, ",~f"), labelFontSize=12, labelColor=MUTED
            ),
        )
        base = alt.Chart(rows).encode(
            y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=size.label_limit)), description="hover:N"
        )
        colour = alt.Color("colour:N", scale=None)
        zero = alt.Chart(pd.DataFrame({"size": [0]})).mark_rule(color=INK, strokeWidth=1, strokeDash=[3, 3]).encode(x=x)
        spans = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q"), x2="high:Q", color=colour)
        points = base.mark_point(filled=True, size=110, opacity=1).encode(x=x, color=colour)
        texts = base.mark_text(dy=-14, fontSize=11 if size.narrow else 12, color=MUTED).encode(x=x, text="text:N")
        return fitted(zero + spans + points + texts, size, max(1, len(rows)) * 60 + 30)

    return chart(labels, build, title=title, subtitle=subtitle, alternative=_spoken(title, rows))


def _rows(frame: pd.DataFrame, category: str, value: str, unit: str, labels: Labels, currency: str, signed: bool) -> pd.DataFrame:
    sizes = [0.0 if numbers.is_null(v) or isinstance(v, str) else float(v) for v in frame[value]]
    shown = [numbers.show(v, unit, language=labels.language, currency=currency, sign=signed) for v in frame[value]]
    rows = pd.DataFrame({"name": frame[category].astype(str).to_list(), "size": sizes})
    rows["text"] = shown
    rows["hover"] = rows["name"] + ": " + rows["text"]
    return rows


def _domain(sizes: Any, room: float) -> list[float]:
    least, most = min(0.0, float(sizes.min())), max(0.0, float(sizes.max()))
    span = (most - least) or 1.0
    return [least - (span * room if least < 0 else 0), most + span * room]


def fitted(drawing: Any, size: Size, height: int) -> Any:
    """`drawing` as wide as its place on the page."""
    return drawing.properties(width=size.width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))


def _signed(value: float, unit: str, labels: Labels, currency: str) -> str:
    return numbers.show(value, unit, language=labels.language, currency=currency, sign=True)


def _spoken(title: str, rows: pd.DataFrame) -> str:
    listed = "; ".join(f"{name}: {text}" for name, text in zip(rows["name"][:12], rows["text"][:12], strict=True))
    return f"{title} – {listed}"
