"""The version of Miracle, in one place."""

__version__ = "0.1.0"
