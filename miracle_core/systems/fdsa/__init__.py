"""FDSA, self-attention over items and over their features."""
