"""Experiments as data: the paper's tables and figures, and what plans, runs and checks them."""
