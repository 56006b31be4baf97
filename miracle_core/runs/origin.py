"""What a run's weights were learned from, kept in the weights' own file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.data.dataset import Dataset, EncoderIdentity, FeatureSet
from miracle_core.errors import InputError, command


class Domain(BaseModel):
    """One Dataset that was trained on.

    Attributes:
        name: what it is called.
        fingerprint: of its catalogue, sequences and split.
        catalogue: hash of its items.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    catalogue: str


class Origin(BaseModel):
    """Where weights come from.

    Attributes:
        encoder: whose text vectors they read; None where they read none.
        domains: the Datasets they were trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: EncoderIdentity | None
    domains: tuple[Domain, ...]

    @classmethod
    def of(cls, datasets: Sequence[Dataset], encoder: EncoderIdentity | None) -> Self:
        """The origin of a training on some Datasets."""
        return cls(
            encoder=encoder,
            domains=tuple(
                Domain(
                    name=dataset.name,
                    fingerprint=dataset.manifest.fingerprint,
                    catalogue=catalogue(dataset),
                )
                for dataset in datasets
            ),
        )

    def metadata(self) -> dict[str, str]:
        """As the metadata of a weights file."""
        return {"origin": self.model_dump_json()}

    @classmethod
    def read(cls, metadata: dict[str, str], where: str) -> Self:
        """From the metadata of a weights file.

        Raises:
            InputError: it does not say.
        """
        try:
            return cls.model_validate_json(metadata.get("origin", ""))
        except ValidationError as error:
            raise InputError(
                "does not say what its weights were learned from",
                where=where,
                remedy="train again with this version",
            ) from error

    def knows(self, dataset: Dataset) -> bool:
        """Whether the Dataset's catalogue was trained on."""
        return catalogue(dataset) in {domain.catalogue for domain in self.domains}

    @property
    def names(self) -> str:
        """The domains' names in one phrase."""
        return ", ".join(domain.name for domain in self.domains)

    def features_of(self, dataset: Dataset, encoder: str | None = None) -> FeatureSet:
        """The text features of a Dataset that the weights can read.

        Args:
            dataset: any Dataset.
            encoder: the features' name; None takes the encoder's own name, else the only ones.

        Raises:
            InputError: there are none of that name, or they are another encoder's.
            ValueError: these weights read no text.
        """
        if self.encoder is None:
            raise ValueError("these weights read no text")
        name = encoder
        if name is None and self.encoder.name in dataset.manifest.features:
            name = self.encoder.name
        entry = dataset.feature_set(name)
        if not entry.encoder.same_vectors(self.encoder):
            raise InputError(
                f"its text features are of encoder {entry.encoder.describe()}, the run reads those "
                f"of {self.encoder.describe()}",
                where=str(dataset.folder),
                remedy="make them with: "
                + command("miracle", "encode", dataset.folder, "--encoder", self.encoder.name),
            )
        return entry


def catalogue(dataset: Dataset) -> str:
    """Hash of a Dataset's items."""
    return dataset.manifest.files["items.parquet"]
