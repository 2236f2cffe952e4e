"""Keeps transformers from writing progress bars and load reports to the terminal while a model is built.

Not here: hiding what matters. What such a report would say (missing, unexpected, mismatched weights) the caller
reads from the loading information and judges.

Example:
    >>> with quiet_transformers():      # doctest: +SKIP
    ...     model = AutoModel.from_pretrained(folder)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within the block transformers reports errors only; afterwards its settings are as they were."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # PEFT asks for an attribute that transformers is about to rename; nobody else can do anything about it
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
