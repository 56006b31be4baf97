"""ComiRec: a controllable multi-interest framework."""
