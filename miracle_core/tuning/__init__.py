"""Settings searched on validation data, with the same number of trials for every system."""
