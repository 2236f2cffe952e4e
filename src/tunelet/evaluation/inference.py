"""Examples through a model, in batches sorted by length, answers in the order of the questions.

Not here: scores, training, and anything that draws a random number. A model is left as it was found: each module's
training mode is restored, no gradient is kept, no global generator is touched.

Example:
    >>> logits = predict_split(model, splits["test"], pad_id=0, batch_size=64)       # doctest: +SKIP
    >>> for row in predict_stream(load_adapter(folder), read_texts(sys.stdin)):      # doctest: +SKIP
    ...     print(row.predicted, row.confidence)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
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
from tunelet.evaluation.forward import answer
from tunelet.evaluation.predictions import Prediction, make_predictions
from tunelet.models.evaluating import evaluating as evaluating
from tunelet.tuning.guard import Guard

if TYPE_CHECKING:
    from tunelet.tuning.loaded import LoadedAdapter


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
    batch_size: int | None = None,
    window: int = 1024,
    autocast: torch.dtype | None = None,
) -> Iterator[Prediction]:
    """Predict examples as they come, without holding more than a window of them.

    Args:
        loaded: an adapter with its model, tokenizer and task. One that `for_inference` made less exact answers again in
            fp32 what is nearly a tie; its guard counts these.
        examples: any number of them, with or without labels.
        batch_size: examples per forward pass; None: as many as make a good batch by their tokens.
        window: examples read ahead and sorted by length. Larger pads less; an answer waits until its window is read.
        autocast: as for `predict_split`.

    Yields:
        One prediction per example, in the order of the examples.

    Raises:
        InputError: a batch or window of no example, or a text of which the tokenizer makes no token.
    """
    if (batch_size is not None and batch_size < 1) or window < 1:
        raise InputError(f"batch_size and window must be at least 1, found {batch_size} and {window}")
    return _stream(loaded, iter(examples), batch_size, window, autocast)


def _stream(
    loaded: LoadedAdapter,
    examples: Iterator[TextExample],
    batch_size: int | None,
    window: int,
    autocast: torch.dtype | None,
) -> Iterator[Prediction]:
    task, pad_id = loaded.task, loaded.tokenizer.pad_token_id
    unlabelled = replace(task, multi_label=True)  # the kind of task in which an example may have no label
    exact, guard = getattr(loaded, "exact", None), getattr(loaded, "guard", None)
    while held := list(islice(examples, window)):
        texts = [TextExample(example.id, example.text) for example in held]
        split = tokenise_examples(texts, unlabelled, loaded.tokenizer, loaded.max_length)

        def logits_of(
            model: torch.nn.Module, indices: NDArray[np.int64], split: TokenisedSplit = split
        ) -> NDArray[np.float32]:
            return answer(model, split, indices, pad_id=pad_id, batch_size=batch_size, autocast=autocast)

        logits = logits_of(loaded.model, np.arange(len(held)))
        if exact is not None and guard is not None:
            logits = settle(logits, guard, partial(logits_of, exact), split.lengths)
        # in a stream, an example without labels is one whose labels are unknown
        yield from make_predictions(held, logits, task.label_names, multi_label=task.multi_label, labelled=False)


def settle(
    rough: NDArray[np.float32],
    guard: Guard,
    exact: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    lengths: NDArray[np.int64],
) -> NDArray[np.float32]:
    """The logits of a less exact model, with fp32's in place of those that are nearly a tie.

    Args:
        rough: (n, C), of n texts.
        guard: which are nearly a tie; while it knows too little, some texts of all lengths are answered for it.
        exact: fp32's logits of the texts at some positions.
        lengths: (n,) tokens of each text.

    Returns:
        (n, C).
    """
    done = np.zeros(len(rough), dtype=bool)
    logits = rough.copy()
    by_length = np.argsort(lengths, kind="stable")
    # spread over the lengths, without repetition
    wanted = by_length[np.unique(np.linspace(0, len(rough) - 1, min(guard.missing, len(rough))).round().astype(int))]
    while True:
        if len(wanted):
            logits[wanted] = exact(wanted)
            guard.learn(rough[wanted], logits[wanted])
            done[wanted] = True
        wanted = np.flatnonzero(guard.doubtful(rough) & ~done)  # more of them, if the bound has grown
        if not len(wanted):
            break
    guard.answered += len(rough)
    guard.again += int(done.sum())
    return logits
