"""Text vectors of titles that the catalogue doesn't hold, from the encoder that the run used."""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from torch import Tensor

from miracle_core.data.dataset import FeatureSet
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.text import TextEncoder, check_encoder, reload_encoder

# Vectors kept, so that an edited history encodes only what is new in it: 1.5 MB at 384 numbers.
KEPT = 1024


class NewTitles:
    """Encodes titles on request; the encoder is loaded with the first one.

    Args:
        features: the run's text features and the encoder that made them.
        progress: shows the loading.
        encoder: the encoder itself, if it is one of the caller's own; None finds it by name.

    Raises:
        InputError: ``encoder`` is not the one that made the features.
    """

    def __init__(
        self,
        features: FeatureSet,
        progress: Progress = SILENT,
        encoder: TextEncoder | None = None,
    ) -> None:
        if encoder is not None:
            check_encoder(encoder, features.encoder)
        self._features = features
        self._progress = progress
        self._encoder: TextEncoder | None = encoder
        self._missing: InputError | None = None
        self._kept: dict[str, Tensor] = {}
        self._one_at_a_time = Lock()  # a screen asks from several threads

    def vector(self, title: str) -> Tensor:
        """A title's text vector, float32 [d_b], rounded as the catalogue's are.

        Each title is encoded alone, so that its vector doesn't depend on others beside it.

        Raises:
            InputError: the encoder can't be had; items of the catalogue need none.
        """
        with self._one_at_a_time:
            if title not in self._kept:
                if len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)))
                rounded = self._load().encode([title]).astype(self._features.dtype)
                self._kept[title] = torch.from_numpy(rounded.astype(np.float32))[0]
            return self._kept[title]

    def load(self) -> None:
        """Load the encoder. If it can't be had, later calls say so without trying again.

        Raises:
            InputError: it can't be had; items of the catalogue need none.
        """
        with self._one_at_a_time:
            self._load()

    def _load(self) -> TextEncoder:
        if self._missing is not None:
            raise self._missing
        if self._encoder is None:
            identity = self._features.encoder
            try:
                with stage(self._progress, f"load the text encoder {identity.name}"):
                    self._encoder = reload_encoder(identity, self._progress)
            except InputError as error:
                self._missing = InputError(
                    f"new titles can't be encoded: {error.what}",
                    where=error.where,
                    remedy=f"{error.remedy or 'bring the encoder back'}; "
                    "titles and ids of the catalogue work without it",
                )
                raise self._missing from error
        return self._encoder
