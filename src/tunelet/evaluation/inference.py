"""Examples through a model, in batches sorted by length, answers in the order of the questions.

Not here: scores, training, and anything that draws a random number. A model is left as it was found: each module's
training mode is restored, no gradient is kept, no global generator is touched.

Example:
    >>> logits = predict_split(model, splits["test"], pad_id=0, batch_size=64)       # doctest: +SKIP
    >>> for row in predict_stream(load_adapter(folder), read_texts(sys.stdin)):      # doctest: +SKIP
    ...     print(row.predicted, row.confidence)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tunelet.base.errors import InputError
from tunelet.data.batching import in_order
from tunelet.data.collate import collate
from tunelet.data.records import TextExample
from tunelet.data.tokens import TokenisedSplit, tokenise_examples
from tunelet.evaluation.predictions import Prediction, make_predictions

if TYPE_CHECKING:
    from tunelet.tuning.folder import LoadedAdapter


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off, no gradients; afterwards every module has the training mode it had before.

    Module by module, because a frozen part may be in evaluation mode while the rest trains.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in before:
            module.training = training


def predict_split(
    model: torch.nn.Module,
    split: TokenisedSplit,
    *,
    pad_id: int,
    batch_size: int,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
) -> NDArray[np.float32]:
    """Logits of every example of a split.

    Args:
        model: takes `input_ids` and `attention_mask`, returns an object with `logits` (batch, C).
        split: N tokenised examples; its labels are not looked at.
        pad_id: token that fills a batch up to its longest example.
        batch_size: examples per forward pass.
        device: where the model is; by default where its first parameter is.
        autocast: compute in this type (torch.bfloat16), or as the weights are if None.

    Returns:
        (N, C) float32, row i for example i of the split, in whatever order the batches were run.

    Raises:
        InputError: the split is empty.
    """
    if not len(split.lengths):
        raise InputError("there is no example to predict")
    place = torch.device(device) if device is not None else next(model.parameters()).device
    batches = in_order(split.lengths, batch_size)
    parts: list[NDArray[np.float32]] = []
    with evaluating(model):
        for indices in batches:
            batch = collate(split, indices, pad_id=pad_id)
            inputs = {name: batch[name].to(place) for name in ("input_ids", "attention_mask")}
            with torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
                parts.append(model(**inputs).logits.float().cpu().numpy())
    sorted_logits = np.concatenate(parts)
    logits = np.empty_like(sorted_logits)
    logits[np.concatenate(batches)] = sorted_logits
    return logits


def predict_stream(
    loaded: LoadedAdapter,
    examples: Iterable[TextExample],
    *,
    batch_size: int = 32,
    window: int = 1024,
    autocast: torch.dtype | None = None,
) -> Iterator[Prediction]:
    """Predict examples as they come, without holding more than a window of them.

    Args:
        loaded: an adapter with its model, tokenizer and task.
        examples: any number of them, with or without labels.
        batch_size: examples per forward pass.
        window: examples read ahead and sorted by length. Larger pads less; an answer waits until its window is read.
        autocast: as for `predict_split`.

    Yields:
        One prediction per example, in the order of the examples.

    Raises:
        InputError: a batch or window of no example, or a text of which the tokenizer makes no token.
    """
    if batch_size < 1 or window < 1:
        raise InputError(f"batch_size and window must be at least 1, found {batch_size} and {window}")
    return _stream(loaded, iter(examples), batch_size, window, autocast)


def _stream(
    loaded: LoadedAdapter,
    examples: Iterator[TextExample],
    batch_size: int,
    window: int,
    autocast: torch.dtype | None,
) -> Iterator[Prediction]:
    task, pad_id = loaded.task, loaded.tokenizer.pad_token_id
    unlabelled = replace(task, multi_label=True)  # the kind of task in which an example may have no label
    while held := list(islice(examples, window)):
        texts = [TextExample(example.id, example.text) for example in held]
        split = tokenise_examples(texts, unlabelled, loaded.tokenizer, loaded.max_length)
        logits = predict_split(loaded.model, split, pad_id=pad_id, batch_size=batch_size, autocast=autocast)
        # in a stream, an example without labels is one whose labels are unknown
        yield from make_predictions(held, logits, task.label_names, multi_label=task.multi_label, labelled=False)
