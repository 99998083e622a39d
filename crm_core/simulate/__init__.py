"""The known-truth generator: raw files in a shop's own style, and beside them what really drives them."""

from crm_core.simulate.run import SimulationSummary, simulate
from crm_core.simulate.world import TYPES, HiddenType

__all__ = ["TYPES", "HiddenType", "SimulationSummary", "simulate"]
