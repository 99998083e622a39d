"""Every model that conf/models.yml asks for, on one date: fitted, put through the gate, its scores or its baseline's given."""

from __future__ import annotations

from crm_core.models.outcome import Outcome, Runner, Task


def runners() -> dict[str, Runner]:
    """The models by the name of their section in conf/models.yml, in the order in which they run."""
    # here, because reading what is stored needs none of them, and they load scikit-learn and scipy
    from crm_core.models import churn, forecast, next_category, next_purchase, value

    return {
        "value": value.run,
        "churn": churn.run,
        "next_purchase": next_purchase.run,
        "next_category": next_category.run,
        "forecast": forecast.run,
    }


def run_all(task: Task) -> list[Outcome]:
    """The outcomes of every model whose section in conf/models.yml is `enabled`."""
    asked = [run for name, run in runners().items() if getattr(task.settings, name).enabled]
    return [outcome for run in asked for outcome in run(task)]
