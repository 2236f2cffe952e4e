"""The language model objectives against the whole model's logits; a few steps lower the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toy_language import toy_decoder, toy_encoder
from tunelet.data.language_text import TokenisedText, tokenise_sentences
from tunelet.models.bases import Base
from tunelet.models.language import build_causal_lm, build_masked_lm
from tunelet.training.language_objective import LanguageObjective
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings

LINES = ["the cat sat on the mat", "a dog ran", "the cats sat", "a dog ran on the mat", "unhappyly the dog sat"] * 3
BUILT = {"masked": build_masked_lm, "causal": build_causal_lm}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(tmp_path_factory.mktemp("base"))


def text_of(base: Base, folder: Path) -> TokenisedText:
    (folder / "s.txt").write_text("\n".join(LINES), encoding="utf-8")
    return tokenise_sentences(folder / "s.txt", base.tokenizer, 16, None)


def objective_of(kind: Any, base: Base, folder: Path, **options: Any) -> LanguageObjective:
    text = text_of(base, folder)
    return LanguageObjective(kind, {"train": text, "validation": text.part(0, 5)}, base.tokenizer, 1, **options)


@pytest.mark.parametrize("kind", ["masked", "causal"])
@pytest.mark.parametrize("kept", [None, np.array([3, *range(5, 20)])], ids=["all", "cut"])
def test_the_loss_is_that_of_the_whole_logits(kind: str, kept: Any, base: Base, tmp_path: Path) -> None:
    objective = objective_of(kind, base, tmp_path, kept=kept)
    model = BUILT[kind](base, seed=1)
    batch = objective.batch(np.array([0, 1, 4]))
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.flatten(0, 1)
    if kept is not None:
        gone = np.setdiff1d(np.arange(logits.shape[1]), kept)
        logits = logits.index_fill(1, torch.from_numpy(gone), -torch.inf)
    losses = -logits.log_softmax(-1)[batch["asked"], batch["targets"]]
    expected = losses[losses.isfinite()].mean()
    torch.testing.assert_close(objective.loss(model, batch), expected)


def test_a_causal_batch_asks_for_every_token_but_the_first(base: Base, tmp_path: Path) -> None:
    objective = objective_of("causal", base, tmp_path)
    batch = objective.batch(np.array([1, 0]))
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    expected = [row[real][1:].tolist() for row, real in zip(ids, mask, strict=True)]
    assert batch["targets"].tolist() == [token for row in expected for token in row]


def test_masks_hang_on_the_seed_and_the_batch(base: Base, tmp_path: Path) -> None:
    first, again = objective_of("masked", base, tmp_path), objective_of("masked", base, tmp_path)
    rows, others = np.arange(8), np.arange(8)[::-1].copy()
    a, b = first.batch(rows), again.batch(rows)
    assert all(a[key].equal(b[key]) for key in a)
    assert not first.batch(others)["input_ids"].flip(0).equal(a["input_ids"])
    again.seed = 2
    assert not again.batch(rows)["input_ids"].equal(a["input_ids"])
    special = a["input_ids"][:, 0]
    assert bool((special == 2).all())


@pytest.mark.parametrize("kind", ["masked", "causal"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kept", [None, np.array([3, *range(5, 22)])], ids=["all", "cut"])
def test_training_lowers_the_loss(kind: str, method: Any, kept: Any, base: Base, tmp_path: Path) -> None:
    objective = objective_of(kind, base, tmp_path, kept=kept)
    settings = TuningSettings(method=method, targets="qkv+dense", r=4, dropout=0.0)
    tuned = prepare(BUILT[kind](base, seed=1), settings, total_steps=20, seed=1)
    before = objective.evaluate(tuned.model)
    assert objective.evaluate(tuned.model) == before
    optimizer = tuned.optimizer(learning_rate=0.02)
    rows = np.arange(len(LINES))
    for step in range(40):
        objective.loss(tuned.model, objective.batch(np.roll(rows, step))).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = objective.evaluate(tuned.model)
    assert after["loss"] < 0.9 * before["loss"]
    assert after["perplexity"] == pytest.approx(np.exp(after["loss"]))
    assert objective.names(np.array([3])) == ["row 3"]


def test_a_decoder_trains_too(tmp_path: Path) -> None:
    decoder = toy_decoder(tmp_path / "base")
    objective = objective_of("causal", decoder, tmp_path)
    model = build_causal_lm(decoder)
    objective.loss(model, objective.batch(np.arange(4))).backward()
    assert all(p.grad is not None for p in model.parameters())
