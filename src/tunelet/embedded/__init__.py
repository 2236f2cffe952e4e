"""Data that ships inside the package, so that every command works with no network and no download.

It holds one folder per task with ``train.jsonl``, ``validation.jsonl``, ``test.jsonl`` and a ``DATASHEET.md``.
It is not a benchmark: a score on these few sentences says that the machinery works, not how good a method is.
No code lives here; ``tunelet.data.sources`` finds and reads the files.

Example:
    >>> from importlib import resources
    >>> (resources.files("tunelet.embedded") / "emotion" / "train.jsonl").is_file()
    True
"""
