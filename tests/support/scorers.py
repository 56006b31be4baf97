"""Scorers without training, for any Dataset."""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.config import make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.runs.opening import build_system, item_side
from miracle_core.systems.base import ItemSide, Sizes
from miracle_core.systems.scorer import Scorer, VectorScorer
from miracle_core.systems.simple.constant import Constant


def fitted_scorer(kind: str, dataset: Dataset, *, seed: int = 0, **own: object) -> Scorer:
    """The scorer of a system without training, with settings from ``own``."""
    settings = make_settings({"model": {"kind": kind, **own}})
    system = build_system(settings, Sizes(dataset.n_items))
    system.fit(dataset, seed)
    return system.scorer(item_side(system, settings.spec, dataset, None))


def fitted(kind: str, dataset: Dataset, *, seed: int = 0, **own: object) -> VectorScorer:
    """As :func:`fitted_scorer`, for ``popularity``, ``random`` and ``textknn``."""
    scorer = fitted_scorer(kind, dataset, seed=seed, **own)
    assert isinstance(scorer, VectorScorer)
    return scorer


def constant(scores: Tensor) -> VectorScorer:
    """A scorer that gives each item the same score for every user, [items]."""
    system = Constant(make_settings({"model": {"kind": "popularity"}}), Sizes(len(scores)))
    with torch.no_grad():
        system.constant.copy_(scores)
    scorer = system.scorer(ItemSide())
    assert isinstance(scorer, VectorScorer)
    return scorer
