"""Systems that learn no weights: constants, and neighbours by text."""
