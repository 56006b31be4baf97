"""Item-based nearest neighbours."""
