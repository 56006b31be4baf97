"""Texts to vectors: encoders by name, cached and resumable encoding of a Dataset."""

from miracle_core.text.base import TextEncoder
from miracle_core.text.encode import encode_dataset
from miracle_core.text.load import check_encoder, feature_name, load_encoder, reload_encoder

__all__ = [
    "TextEncoder",
    "check_encoder",
    "encode_dataset",
    "feature_name",
    "load_encoder",
    "reload_encoder",
]
