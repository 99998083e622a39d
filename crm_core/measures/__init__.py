"""What happened, as ibis expressions: RFM and the member features; lazy, and always as of a date."""

from crm_core.measures.behaviour import NAMES, days_asked, functions, prepare
from crm_core.measures.bought import bought
from crm_core.measures.feature_list import FEATURES, MODEL_FEATURES, Feature, empty_features
from crm_core.measures.features import beside, features
from crm_core.measures.incremental import SOURCES, can_carry, carried, out_of_windows, touched
from crm_core.measures.recipe import ROOMS, recipe
from crm_core.measures.rfm import rfm

__all__ = [
    "FEATURES",
    "MODEL_FEATURES",
    "NAMES",
    "ROOMS",
    "SOURCES",
    "Feature",
    "beside",
    "bought",
    "can_carry",
    "carried",
    "days_asked",
    "empty_features",
    "features",
    "functions",
    "out_of_windows",
    "prepare",
    "recipe",
    "rfm",
    "touched",
]
