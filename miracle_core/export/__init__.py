"""A run as files that other programs read without this package (docs/export.md)."""

from miracle_core.export.export import TARGETS, ExportResult, export

__all__ = ["TARGETS", "ExportResult", "export"]
