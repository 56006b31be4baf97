"""MIND: Multi-Interest Network with Dynamic Routing."""
