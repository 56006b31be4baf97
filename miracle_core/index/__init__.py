"""Kept between commands in a run folder: the catalogue's item vectors, and an approximate index.

Both carry a key made from all that they depend on, so neither is ever used for other weights or
other data. Both may be removed at any time.
"""
