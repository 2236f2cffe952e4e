"""Interpolated modified Kneser-Ney language models in numpy: `counting`, `smoothing`, and the model itself."""
