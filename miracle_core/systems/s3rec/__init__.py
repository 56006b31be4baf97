"""S3-Rec, self-supervised pre-training of a sequence recommender."""
