"""First passes: recognisers that turn sound into N-best lists. One file for each kind, and `batch` for many files.

Example:
    >>> recogniser = build(SphinxSettings(n=10))            # doctest: +SKIP
    >>> recogniser.nbest(read_audio(Path("a.wav")))[0]      # doctest: +SKIP
    Hypothesis(text='the sea is calm', score=-203.4)
"""
