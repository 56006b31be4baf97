"""The objective of a batch in a system with capsules (eq. 24)."""

from __future__ import annotations

from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.processes import Processes
from miracle_core.systems.base import Objective
from miracle_core.systems.miracle.capsules import CapsuleOutput, SparseCapsules
from miracle_core.systems.miracle.losses import coverage, orthogonality
from miracle_core.systems.miracle.settings import NetworkSettings


def regularised(
    settings: NetworkSettings,
    capsules: SparseCapsules,
    output: CapsuleOutput,
    packed: Packed,
    recommendation: Tensor,
    processes: Processes,
) -> Objective:
    """The loss of the next item and both regularisers, weighted (eq. 24).

    Its counter ``capsules`` says how many items activate each capsule.

    Args:
        settings: the weights of the terms.
        capsules: the network.
        output: what it says of the batch's histories.
        packed: the histories.
        recommendation: the loss of the next item.
        processes: those that share the batch.
    """
    terms = {
        "recommendation": recommendation,
        "coverage": coverage(output.similarity, output.activated, packed, processes),
        "orthogonality": orthogonality(capsules.base, processes),
    }
    total = (
        recommendation
        + settings.coverage * terms["coverage"]
        + settings.orthogonality * terms["orthogonality"]
    )
    activated = packed.count(output.activated, settings.capsules)
    return Objective(total, terms, {"capsules": activated})
