"""Forward passes: answers in the order of the questions, whatever the batches; the model left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchEncoding, BertConfig, BertForSequenceClassification

from tunelet.base.errors import InputError
from tunelet.data.records import Label, Task, TextExample
from tunelet.data.tokens import TokenisedSplit
from tunelet.evaluation.inference import evaluating, predict_split, predict_stream, settle
from tunelet.tuning.guard import Guard

LABELS = ("sadness", "joy", "love")


class Letters:
    """A tokenizer of letters that counts how many texts it was given at once."""

    pad_token_id = 0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, texts: list[str], *, max_length: int, **_: bool) -> BatchEncoding:
        self.calls.append(len(texts))
        rows = [[1, *(3 + ord(letter) % 90 for letter in text), 2][:max_length] for text in texts]
        return BatchEncoding({"input_ids": rows}, encoding=[])


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=len(LABELS), initializer_range=0.5,
    )  # fmt: skip
    return BertForSequenceClassification(config)


@pytest.fixture
def split() -> TokenisedSplit:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 40, 23)
    return TokenisedSplit(
        ids=generator.integers(3, 100, lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.zeros(23, dtype=np.int64),
        example_ids=tuple(map(str, range(23))),
        truncated=0,
    )


def adapter(model: torch.nn.Module, *, multi_label: bool = False, max_length: int = 32) -> Any:
    """What `predict_stream` needs of a loaded adapter."""
    return SimpleNamespace(
        model=model,
        tokenizer=Letters(),
        task=Task("feelings", "", tuple(map(Label, LABELS)), multi_label=multi_label),
        max_length=max_length,
    )


def texts(n: int) -> list[TextExample]:
    generator = np.random.default_rng(1)
    return [TextExample(str(index), "ab cde fghi "[: generator.integers(0, 12)] * 2) for index in range(n)]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_row_i_is_example_i(model: torch.nn.Module, split: TokenisedSplit, batch_size: int) -> None:
    found = predict_split(model, split, pad_id=0, batch_size=batch_size)
    model.eval()
    with torch.no_grad():
        alone = [
            model(input_ids=torch.tensor(split.ids[start:end])[None].long()).logits[0].numpy()
            for start, end in zip(split.offsets[:-1], split.offsets[1:], strict=True)
        ]
    assert found.dtype == np.float32
    assert found == pytest.approx(np.stack(alone), abs=1e-3)


def test_the_model_is_left_as_it_was(model: torch.nn.Module, split: TokenisedSplit) -> None:
    model.train()
    model.get_submodule("bert.embeddings").eval()
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state(), np.random.get_state()[1].tolist()
    predict_split(model, split, pad_id=0, batch_size=8)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.random.get_state()[1].tolist() == random[1]
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="on purpose"), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("on purpose")
    assert [module.training for module in model.modules()] == modes
    logits = model(input_ids=torch.tensor([[1, 5, 2]])).logits
    assert logits.requires_grad, "a model that was evaluated must still be trainable"


def test_autocast_computes_in_the_type_that_is_asked_for(model: torch.nn.Module, split: TokenisedSplit) -> None:
    seen: list[torch.dtype] = []
    layer = model.get_submodule("bert.encoder.layer.0.attention.self.query")
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    full = predict_split(model, split, pad_id=0, batch_size=64)
    half = predict_split(model, split, pad_id=0, batch_size=64, autocast=torch.bfloat16)
    handle.remove()
    assert seen == [torch.float32, torch.bfloat16]
    assert half.dtype == np.float32
    assert half == pytest.approx(full, abs=0.1 * float(np.abs(full).max()))


def test_an_empty_split_is_refused(model: torch.nn.Module, split: TokenisedSplit) -> None:
    empty = TokenisedSplit(split.ids[:0], split.offsets[:1], split.labels[:0], (), 0)
    with pytest.raises(InputError, match="no example to predict"):
        predict_split(model, empty, pad_id=0, batch_size=8)


@pytest.mark.parametrize(("batch_size", "window"), [(1, 1), (4, 7), (64, 1024), (3, 19)])
def test_a_stream_answers_in_order(model: torch.nn.Module, batch_size: int, window: int) -> None:
    given = texts(19)
    whole = list(predict_stream(adapter(model), given))
    found = list(predict_stream(adapter(model), iter(given), batch_size=batch_size, window=window))
    assert [(row.id, row.text) for row in found] == [(example.id, example.text) for example in given]
    assert [row.predicted for row in found] == [row.predicted for row in whole]
    for one, other in zip(found, whole, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert len({row.confidence for row in whole}) > 5, "all alike would not show a change of order"


def test_a_stream_reads_no_further_than_its_window(model: torch.nn.Module) -> None:
    read = 0

    def counted() -> Iterator[TextExample]:
        nonlocal read
        for example in texts(100):
            read += 1
            yield example

    loaded = adapter(model)
    stream = predict_stream(loaded, counted(), window=10)
    assert read == 0
    for expected in [10] * 10 + [20] * 10:
        next(stream)
        assert read == expected
    assert loaded.tokenizer.calls == [10, 10]


def test_a_stream_of_several_labels_and_of_known_ones(model: torch.nn.Module) -> None:
    given = [TextExample("a", "so glad", ("joy", "love")), TextExample("b", "hm")]
    first, second = predict_stream(adapter(model, multi_label=True), given)
    assert first.labels == ("joy", "love")
    assert second.labels is None
    assert set(first.predicted) == {name for name, share in first.probabilities.items() if share >= 0.5}


def test_long_texts_are_cut_and_empty_streams_are_empty(model: torch.nn.Module) -> None:
    long = TextExample("1", "a" * 10_000)
    (cut,) = predict_stream(adapter(model, max_length=16), [long])
    (same,) = predict_stream(adapter(model, max_length=16), [TextExample("1", "a" * 20)])
    assert cut.probabilities == same.probabilities
    assert list(predict_stream(adapter(model), [])) == []


def test_batches_and_windows_of_nothing_are_refused_at_once(model: torch.nn.Module) -> None:
    for wrong in ({"batch_size": 0}, {"window": 0}):
        with pytest.raises(InputError, match="must be at least 1"):
            predict_stream(adapter(model), [], **wrong)


# --- a less exact model, guarded by an exact one


class Rounded(torch.nn.Module):
    """A model whose logits are off by up to `size`, each text by its own amount."""

    def __init__(self, exact: torch.nn.Module, size: float) -> None:
        super().__init__()
        self.exact, self.size = exact, size

    def forward(self, **inputs: torch.Tensor) -> Any:
        logits = self.exact(**inputs).logits
        return SimpleNamespace(logits=logits + self.size * torch.sin(1e4 * logits))


def guarded(model: torch.nn.Module, size: float, *, multi_label: bool = False, needed: int = 16) -> Any:
    ready = adapter(Rounded(model, size), multi_label=multi_label)
    ready.exact, ready.guard = model, Guard(multi_label=multi_label, needed=needed)
    return ready


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("window", [7, 1024])
def test_labels_are_those_of_the_exact_model(model: torch.nn.Module, multi_label: bool, window: int) -> None:
    given = texts(200)
    told = [row.predicted for row in predict_stream(adapter(model, multi_label=multi_label), given)]
    rough = adapter(Rounded(model, 0.5), multi_label=multi_label)
    assert told != [row.predicted for row in predict_stream(rough, given)], "rounding must matter for this test"
    ready = guarded(model, 0.5, multi_label=multi_label)
    assert told == [row.predicted for row in predict_stream(ready, given, window=window)]
    assert ready.guard.answered == 200 and 16 <= ready.guard.again < 200
    assert ready.guard.told().startswith(f"{ready.guard.again} of 200 texts")


def test_the_exact_model_answers_only_what_is_doubtful(model: torch.nn.Module) -> None:
    given = texts(100)
    exact = {row.id: row.probabilities for row in predict_stream(adapter(model), given)}
    ready = guarded(model, 0.05)
    rows = list(predict_stream(ready, given))
    same = sum(row.probabilities == pytest.approx(exact[row.id], abs=1e-5) for row in rows)
    assert ready.guard.again <= same < 100


def test_few_texts_are_answered_by_the_exact_model_alone(model: torch.nn.Module) -> None:
    ready = guarded(model, 0.5, needed=64)
    given = texts(10)
    for row, other in zip(predict_stream(ready, given), predict_stream(adapter(model), given), strict=True):
        assert row.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    assert (ready.guard.again, ready.guard.answered) == (10, 10)


def test_a_bound_that_grows_is_applied_to_answers_already_given() -> None:
    """The text that moves most is found among the doubtful ones, and makes others doubtful."""
    exact = np.array([[1.0, 0.0], [0.3, 0.0], [0.0, 0.7], [0.0, 3.0]], dtype=np.float32)
    rough = np.array([[1.0, 0.1], [0.0, 0.1], [0.0, 0.6], [0.0, 3.0]], dtype=np.float32)
    guard = Guard(multi_label=False, needed=1, factor=2.0)
    guard.learn(exact[:1] + np.array([[0.1, 0.0]]), exact[:1])  # bound 0.2: the second text alone, which moves by 0.4
    found = settle(rough, guard, lambda rows: exact[rows], np.ones(4, dtype=np.int64))
    assert found.tolist() == [rough[0].tolist(), exact[1].tolist(), exact[2].tolist(), rough[3].tolist()]
    assert guard.again == 2 and guard.bound == pytest.approx(0.8)
