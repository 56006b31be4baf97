"""Losses with sampled negatives for one example, written from their papers."""

from __future__ import annotations

import math


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def log_sigmoid(x: float) -> float:
    """The logarithm of the sigmoid, without losing digits for large x."""
    return -(max(-x, 0.0) + math.log1p(math.exp(-abs(x))))


def bpr(own: float, negatives: list[float]) -> float:
    """Rendle et al. 2009, BPR-Opt: the mean over negatives."""
    return sum(-log_sigmoid(own - s) for s in negatives) / len(negatives)


def top1(own: float, negatives: list[float]) -> float:
    """Hidasi et al. 2016, section 3.1.3: relative rank, with the negatives' scores pulled to 0."""
    return sum(sigmoid(s - own) + sigmoid(s * s) for s in negatives) / len(negatives)


def top1_max(own: float, negatives: list[float]) -> float:
    """Hidasi and Karatzoglou 2018: TOP1 with the expectation over the negatives' softmax."""
    total = sum(math.exp(s) for s in negatives)
    terms = [(math.exp(s) / total, sigmoid(s - own), sigmoid(s * s)) for s in negatives]
    return sum(weight * (rank + penalty) for weight, rank, penalty in terms)


def bpr_max(own: float, negatives: list[float], regularisation: float) -> float:
    """Hidasi and Karatzoglou 2018, eq. 10."""
    powers = [math.exp(s) for s in negatives]
    weights = [power / sum(powers) for power in powers]
    won = sum(w * sigmoid(own - s) for w, s in zip(weights, negatives, strict=True))
    penalty = sum(w * s * s for w, s in zip(weights, negatives, strict=True))
    return -math.log(won) + regularisation * penalty


def bce(own: float, negatives: list[float]) -> float:
    """Kang and McAuley 2018, eq. 6, with k negatives."""
    return -log_sigmoid(own) - sum(log_sigmoid(-s) for s in negatives)


def gbce(own: float, negatives: list[float], n_items: int, t: float) -> float:
    """Petrov and Macdonald 2023: BCE with the positive's probability to the power beta."""
    alpha = len(negatives) / (n_items - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    rest = sum(log_sigmoid(-s) for s in negatives)
    return -beta * log_sigmoid(own) - rest


def sampled_softmax(own: float, negatives: list[float], n_items: int) -> float:
    """Each of k negatives stands for (n - 1) / k items: its odds over its expected draws."""
    expected = len(negatives) / (n_items - 1)
    rest = sum(math.exp(s) / expected for s in negatives)
    return -math.log(math.exp(own) / (math.exp(own) + rest))
