"""What will happen: purchases, spend, churn, next purchase, baskets, forecast, uplift; each must beat its baselines."""

from crm_core.models.card import Backtest, Entrant, ModelCard, Need, judge

__all__ = ["Backtest", "Entrant", "ModelCard", "Need", "judge"]
