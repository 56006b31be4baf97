"""MIRACLE, the paper's own system (sections 3.2 to 3.4)."""
