"""What will happen: purchases, spend, churn, next purchase, baskets, forecast, uplift; each must beat its baselines."""

from crm_core.models.card import Backtest, Entrant, ModelCard, Need, judge
from crm_core.models.outcome import Outcome, cards, together
from crm_core.models.run import Task, run_all

__all__ = ["Backtest", "Entrant", "ModelCard", "Need", "Outcome", "Task", "cards", "judge", "run_all", "together"]
