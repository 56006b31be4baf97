"""UniSRec, universal sequence representations from items' text."""
