"""BERT4Rec, a Transformer that learns to fill gaps."""
