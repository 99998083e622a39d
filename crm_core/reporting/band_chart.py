"""A line of what was and a line with its bands of what is expected, week by week."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from crm_core.reporting import numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.charts import ACCENT, INK, MUTED, PALE, Size, chart, fitted
from crm_core.reporting.labels import Labels


def band(
    past: pd.DataFrame, ahead: pd.DataFrame, labels: Labels, *, title: str, subtitle: str = "", currency: str = "CNY"
) -> Block:
    """`past`: week (date), value; `ahead`: week, expected, low80, high80, low95, high95 – amounts of money."""
    dates = {"week": lambda rows: pd.to_datetime(rows["week"])}
    seen, coming = past.assign(**dates), ahead.assign(**dates)

    def text(value: float) -> str:
        return numbers.show(value, "money", language=labels.language, currency=currency)

    coming["hover"] = [
        f"{row.week:%Y-%m-%d}: {text(row.expected)} [{text(row.low95)}, {text(row.high95)}]" for row in coming.itertuples()
    ]
    seen["hover"] = [f"{row.week:%Y-%m-%d}: {text(row.value)}" for row in seen.itertuples()]
    joined = pd.concat([seen.tail(1).rename(columns={"value": "expected"})[["week", "expected"]], coming[["week", "expected"]]])

    def build(size: Size) -> Any:
        x = alt.X("week:T", title=None, axis=alt.Axis(format="%y-%m", tickCount=4 if size.narrow else 10, grid=False))
        y = alt.Axis(format="~s", tickCount=4, labelFontSize=12, labelColor=MUTED)
        layers = [
            alt.Chart(coming)
            .mark_area(color=PALE, opacity=shade)
            .encode(x=x, y=alt.Y(f"low{level}:Q", title=None, axis=y), y2=f"high{level}:Q")
            for level, shade in (("95", 0.5), ("80", 0.9))
        ]
        layers.append(alt.Chart(seen).mark_line(color=INK, strokeWidth=1.5).encode(x=x, y="value:Q", description="hover:N"))
        layers.append(alt.Chart(joined).mark_line(color=ACCENT, strokeWidth=2, strokeDash=[5, 3]).encode(x=x, y="expected:Q"))
        layers.append(
            alt.Chart(coming).mark_point(color=ACCENT, filled=True, size=20).encode(x=x, y="expected:Q", description="hover:N")
        )
        return fitted(alt.layer(*layers), size, 220 if size.narrow else 300)

    spoken = f"{title} – " + "; ".join(coming["hover"][:4])
    return chart(labels, build, title=title, subtitle=subtitle, alternative=spoken)
