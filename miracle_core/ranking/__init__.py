"""From interests to scores, losses, ranks and top-K: the one walk over the catalogue."""
