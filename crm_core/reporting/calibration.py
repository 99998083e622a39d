"""The calibration plot: what was said against what came true, on time that was held out."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from crm_core.reporting import numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.charts import ACCENT, MUTED, Size, chart
from crm_core.reporting.labels import Labels


def calibration(frame: pd.DataFrame, labels: Labels, *, title: str, x_title: str, y_title: str, subtitle: str = "") -> Block:
    """Points of `expected` × `found` (shares) with the interval `low` to `high`, and the line on which both agree."""
    rows = frame[["expected", "found", "low", "high"]].astype(float)
    shown = rows.map(lambda share: numbers.show(share, "percent", language=labels.language))
    rows["hover"] = [f"{row.expected} → {row.found} [{row.low}, {row.high}]" for row in shown.itertuples()]
    line = pd.DataFrame({"expected": [0.0, 1.0], "found": [0.0, 1.0]})

    def build(size: Size) -> Any:
        axis = alt.Axis(format="~%", tickCount=5)
        x = alt.X("expected:Q", title=x_title, scale=alt.Scale(domain=[0, 1]), axis=axis)
        y = alt.Y("found:Q", title=y_title, scale=alt.Scale(domain=[0, 1]), axis=axis)
        agreed = alt.Chart(line).mark_line(color=MUTED, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y)
        base = alt.Chart(rows).encode(x=x, description="hover:N")
        spans = base.mark_rule(strokeWidth=2, color=ACCENT).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q")
        points = base.mark_point(filled=True, size=70, opacity=1, color=ACCENT).encode(y=y)
        fit = alt.AutoSizeParams(type="fit", contains="padding")
        return (agreed + spans + points).properties(width=size.width, height=300 if size.narrow else 380, autosize=fit)

    return chart(labels, build, title=title, subtitle=subtitle, alternative=f"{title} – " + "; ".join(rows["hover"]))
