"""What will happen: purchases, spend, churn, next purchase, baskets, forecast, uplift; each must beat its baselines."""

from crm_core.models.baskets import basket_rules
from crm_core.models.bgbb import BgBb
from crm_core.models.bgnbd import BgNbd, MbgNbd
from crm_core.models.card import Backtest, Entrant, ModelCard, Need, judge
from crm_core.models.cells import member_purchases, purchase_counts, spend_cells
from crm_core.models.cohorts import fit_cohorts
from crm_core.models.counts import count_interval
from crm_core.models.gamma_gamma import GammaGamma
from crm_core.models.next_after import entry_items, next_after
from crm_core.models.outcome import Outcome, Task, cards, together
from crm_core.models.pareto_nbd import ParetoNbd
from crm_core.models.qini import qini_curve, uplift_at, uplift_by
from crm_core.models.run import run_all

fit_bgnbd = BgNbd.fit
fit_mbgnbd = MbgNbd.fit
fit_pareto_nbd = ParetoNbd.fit
fit_bgbb = BgBb.fit
fit_gamma_gamma = GammaGamma.fit

__all__ = [
    "Backtest",
    "Entrant",
    "ModelCard",
    "Need",
    "Outcome",
    "Task",
    "basket_rules",
    "cards",
    "count_interval",
    "entry_items",
    "fit_bgbb",
    "fit_bgnbd",
    "fit_cohorts",
    "fit_gamma_gamma",
    "fit_mbgnbd",
    "fit_pareto_nbd",
    "judge",
    "member_purchases",
    "next_after",
    "purchase_counts",
    "qini_curve",
    "run_all",
    "spend_cells",
    "together",
    "uplift_at",
    "uplift_by",
]
