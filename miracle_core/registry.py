"""Every system by name: what it needs and where its code lies. Reading this table imports no torch.

``model.kind`` in a run's settings is a name of this table, never a path: a file can't name code to
be run. A program may add systems of its own with :func:`register`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from miracle_core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from miracle_core.config import ModelSettings
    from miracle_core.systems.base import System

Need = Literal["text", "attributes"]
Stage = Literal["fit", "train", "pretrain"]
Mode = Literal["transductive", "inductive"]
DEFAULT = "miracle"


@dataclass(frozen=True)
class SystemSpec:
    """One system, as the rest of the program knows it.

    Attributes:
        name: what ``model.kind`` says.
        title: its name for people.
        paper: where it was published, or what it is.
        settings: ``module:Class`` of its settings, a ``ModelSettings``.
        system: ``module:Class`` of the system, a ``System``.
        needs: what a Dataset must have: ``text`` vectors. ``attributes`` are never required; they
            belong in ``reads``.
        reads: what it reads as well, if a Dataset has it: ``attributes``.
        stages: how it is made: ``fit`` at once from counts, or ``train`` by gradients, after
            ``pretrain`` where it can: on several Datasets, or on its own one if it knows items
            one by one (:attr:`zero_shot`).
        modes: which ``train.mode`` it can have, its default first: ``transductive`` knows items by
            an embedding or a count each, ``inductive`` by their text alone.
        seeded: whether another seed gives another result. Where it does not, one run is enough.
    """

    name: str
    title: str
    paper: str
    settings: str
    system: str
    needs: tuple[Need, ...] = ()
    reads: tuple[Need, ...] = ()
    stages: tuple[Stage, ...] = ("train",)
    modes: tuple[Mode, ...] = ("transductive",)
    seeded: bool = True

    @property
    def zero_shot(self) -> bool:
        """Whether a pre-training ranks catalogues it was not trained on: it knows items by text.

        Otherwise it is pre-trained on the one catalogue that it is then fine-tuned on.
        """
        return "pretrain" in self.stages and "inductive" in self.modes

    def settings_class(self) -> type[ModelSettings]:
        """The class that validates the section ``model`` of this kind."""
        found: type[ModelSettings] = _imported(self.settings)
        return found

    def system_class(self) -> type[System]:
        """The system itself; this imports torch."""
        found: type[System] = _imported(self.system)
        return found

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle models``, without the settings."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "needs": list(self.needs),
            "reads": list(self.reads),
            "stages": list(self.stages),
            "modes": list(self.modes),
        }


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_SYSTEMS: dict[str, SystemSpec] = {}


_OWN = "; one of your own is known once a Python program has called miracle_core.register(SPEC)"


def register(spec: SystemSpec) -> None:
    """Add a system; one of the same name is replaced."""
    _SYSTEMS[spec.name] = spec


def unregister(name: str) -> None:
    """Remove a system."""
    del _SYSTEMS[name]


def systems() -> list[SystemSpec]:
    """Every system, by name."""
    return [_SYSTEMS[name] for name in sorted(_SYSTEMS)]


def system(name: str, *, where: str = "model.kind") -> SystemSpec:
    """The system with this name.

    Raises:
        InputError: there is none; the nearest name is suggested.
    """
    found = _SYSTEMS.get(name)
    if found is None:
        known = f"known: {', '.join(sorted(_SYSTEMS))}"
        raise InputError(
            f"there is no system {name!r}",
            where=where,
            remedy=did_you_mean(name, _SYSTEMS, known + _OWN),
        )
    return found


_HERE = "miracle_core.systems"
for _spec in (
    SystemSpec(
        "miracle",
        "MIRACLE",
        "Tang et al., Towards Multi-Interest Pre-training with Sparse Capsule Network, SIGIR 2023",
        settings=f"{_HERE}.miracle.settings:MiracleSettings",
        system=f"{_HERE}.miracle.miracle:Miracle",
        needs=("text",),
        stages=("pretrain", "train"),
        modes=("transductive", "inductive"),
    ),
    SystemSpec(
        "unisrec",
        "UniSRec",
        "Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, "
        "KDD 2022",
        settings=f"{_HERE}.unisrec.settings:UniSRecSettings",
        system=f"{_HERE}.unisrec.system:UniSRec",
        needs=("text",),
        stages=("pretrain", "train"),
        modes=("transductive", "inductive"),
    ),
    SystemSpec(
        "sasrec",
        "SASRec",
        "Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018",
        settings=f"{_HERE}.sasrec.settings:SASRecSettings",
        system=f"{_HERE}.sasrec.system:SASRec",
    ),
    SystemSpec(
        "gru4rec",
        "GRU4Rec",
        "Hidasi et al., Session-based Recommendations with Recurrent Neural Networks, ICLR 2016",
        settings=f"{_HERE}.gru4rec.settings:GRU4RecSettings",
        system=f"{_HERE}.gru4rec.system:GRU4Rec",
    ),
    SystemSpec(
        "bert4rec",
        "BERT4Rec",
        "Sun et al., BERT4Rec: Sequential Recommendation with Bidirectional Encoder "
        "Representations from Transformer, CIKM 2019",
        settings=f"{_HERE}.bert4rec.settings:Bert4RecSettings",
        system=f"{_HERE}.bert4rec.system:Bert4Rec",
    ),
    SystemSpec(
        "fdsa",
        "FDSA",
        "Zhang et al., Feature-level Deeper Self-Attention Network for Sequential Recommendation, "
        "IJCAI 2019",
        settings=f"{_HERE}.fdsa.settings:FDSASettings",
        system=f"{_HERE}.fdsa.system:FDSA",
        needs=("text",),
        reads=("attributes",),
    ),
    SystemSpec(
        "s3rec",
        "S3-Rec",
        "Zhou et al., S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual "
        "Information Maximization, CIKM 2020",
        settings=f"{_HERE}.s3rec.settings:S3RecSettings",
        system=f"{_HERE}.s3rec.system:S3Rec",
        reads=("attributes",),
        stages=("pretrain", "train"),
    ),
    SystemSpec(
        "popularity",
        "Popularity",
        "Items by how often they occur in the training part; the same for every user",
        settings=f"{_HERE}.simple.settings:PopularitySettings",
        system=f"{_HERE}.simple.constant:Popularity",
        stages=("fit",),
        seeded=False,
    ),
    SystemSpec(
        "random",
        "Random",
        "A random order of the catalogue; the same for every user",
        settings=f"{_HERE}.simple.settings:RandomSettings",
        system=f"{_HERE}.simple.constant:RandomOrder",
        stages=("fit",),
    ),
    SystemSpec(
        "mind",
        "MIND",
        "Li et al., Multi-Interest Network with Dynamic Routing for Recommendation at Tmall, "
        "CIKM 2019",
        settings=f"{_HERE}.mind.settings:MindSettings",
        system=f"{_HERE}.mind.system:Mind",
    ),
    SystemSpec(
        "comirec",
        "ComiRec",
        "Cen et al., Controllable Multi-Interest Framework for Recommendation, KDD 2020",
        settings=f"{_HERE}.comirec.settings:ComiRecSettings",
        system=f"{_HERE}.comirec.system:ComiRec",
    ),
    SystemSpec(
        "heads",
        "MIRACLE with another head",
        "Interests made of the last item, the mean, attention, routing or capsules, at equal "
        "everything else",
        settings=f"{_HERE}.heads.settings:HeadsSettings",
        system=f"{_HERE}.heads.system:Heads",
        needs=("text",),
        modes=("transductive", "inductive"),
    ),
    SystemSpec(
        "itemknn",
        "ItemKNN",
        "Items by their similarity to the history's, counted over users (Sarwar et al. 2001)",
        settings=f"{_HERE}.itemknn.settings:ItemKnnSettings",
        system=f"{_HERE}.itemknn.system:ItemKnn",
        stages=("fit",),
        seeded=False,
    ),
    SystemSpec(
        "textknn",
        "Nearness of text",
        "Items by the cosine of their text vector with that of the nearest item of the history",
        settings=f"{_HERE}.simple.settings:TextKnnSettings",
        system=f"{_HERE}.simple.textknn:TextKnn",
        needs=("text",),
        stages=("fit",),
        modes=("inductive",),
        seeded=False,
    ),
):
    register(_spec)
