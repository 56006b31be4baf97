"""GRU4Rec, a recurrent network from left to right."""
