"""SASRec, self-attention from left to right."""
