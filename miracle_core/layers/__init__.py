"""Layers that several systems share, over packed histories."""
