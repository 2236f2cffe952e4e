"""Pretrained models: finding them, knowing them by their fingerprint, putting a classification head on them."""
