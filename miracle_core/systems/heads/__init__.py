"""Interests of contextual items made in several ways, at equal everything else."""
