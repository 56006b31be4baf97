"""The systems, a folder each; ``base`` is the contract."""
