"""Every setting, typed and validated in one place."""

from miracle_core.config.described import Described, attributes, described
from miracle_core.config.problems import setting_names
from miracle_core.config.search import Choice, Range, SearchSpace, Uniform
from miracle_core.config.sections import (
    METRIC_NAMES,
    CooccurrenceSettings,
    LossSettings,
    ModelSettings,
    Precision,
    Preset,
    PretrainSettings,
    Section,
    TrainSettings,
)
from miracle_core.config.settings import (
    SeenRule,
    Settings,
    dump_settings,
    flat,
    load_settings,
    make_settings,
    merge,
    nested,
    read_values,
    settings_class,
    with_defaults,
)
from miracle_core.registry import Mode

__all__ = [
    "METRIC_NAMES",
    "Choice",
    "CooccurrenceSettings",
    "Described",
    "LossSettings",
    "Mode",
    "ModelSettings",
    "Precision",
    "Preset",
    "PretrainSettings",
    "Range",
    "SearchSpace",
    "Section",
    "SeenRule",
    "Settings",
    "TrainSettings",
    "Uniform",
    "attributes",
    "described",
    "dump_settings",
    "flat",
    "load_settings",
    "make_settings",
    "merge",
    "nested",
    "read_values",
    "setting_names",
    "settings_class",
    "with_defaults",
]
