"""From logits to numbers that can be defended: scores as counts, intervals, paired tests, per-example predictions.

Not here: anything that trains, and anything that draws. `classification` and `multilabel` score logits, `statistics`
says how far a score can be trusted, `predictions` keeps one row per example, `inference` is the only file that
imports torch.
"""
