"""Folders of prefix models: what is loaded answers as what was saved, over a base or over another folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from toy_prefix import base_in, questions
from tunelet.base.errors import AdapterError, TrainingError
from tunelet.models.bases import Base
from tunelet.models.prefix.model import PrefixModel, build_prefix
from tunelet.tuning.methods import prepare
from tunelet.tuning.prefix_folder import PrefixStart, fingerprint_of, load_prefix, save_prefix, start_from
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

ASKED = questions(4)
METHODS = ("full", "lora")


def trained(model: PrefixModel, method: str, *, seed: int = 1) -> Tuned:
    """A model after two steps, embeddings frozen."""
    settings = TuningSettings(method=method, targets="qkv", r=2, dropout=0.0)
    tuned = prepare(model, settings, total_steps=2, seed=seed)
    model.language.embeddings.requires_grad_(False)
    optimizer: Any = tuned.optimizer(learning_rate=1e-2)
    whole: Any = tuned.model
    for _ in range(2):
        whole.loss(whole.encode(ASKED)).backward()
        optimizer.step()
        optimizer.zero_grad()
    whole.eval()
    return tuned


def answers(model: Any) -> np.ndarray:
    return np.concatenate([answer.scores for answer in model.answer(ASKED)])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return base_in(tmp_path_factory.mktemp("folder") / "base")


@pytest.fixture(scope="module")
def folders(base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """A folder of each method over the base, with the answers of what was saved."""
    place, found = tmp_path_factory.mktemp("saved"), {}
    for method in METHODS:
        tuned = trained(build_prefix(base), method)
        save_prefix(place / method, tuned, base, scores={"accuracy": 0.5})
        found[method] = place / method, answers(tuned.model)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_what_is_loaded_answers_as_what_was_saved(method: str, folders: dict[str, Any], base: Base) -> None:
    folder, expected = folders[method]
    loaded = load_prefix(folder)
    np.testing.assert_allclose(answers(loaded.model), expected, atol=1e-4)
    assert np.abs(answers(build_prefix(base)) - expected).max() > 1e-2  # training changed something
    assert loaded.manifest.scores == {"accuracy": 0.5} and loaded.base.fingerprint == base.fingerprint
    assert fingerprint_of(folder) == loaded.manifest.seal
    if method == "full":
        names = load_file(folder / "trained.safetensors").keys()
        assert "copying.query" in names and not any("embeddings" in name for name in names)


@pytest.mark.parametrize("first", METHODS)
@pytest.mark.parametrize("second", METHODS)
def test_a_folder_over_a_folder(first: str, second: str, folders: dict[str, Any], tmp_path: Path) -> None:
    folder, expected = folders[first]
    start = start_from(folder)
    assert start.matching and isinstance(start.model, PrefixModel)
    np.testing.assert_allclose(answers(start.model), expected, atol=1e-3)  # a merged LoRA rounds otherwise
    tuned = trained(start.model, second, seed=2)
    heads = [name for name, _ in tuned.trainable() if "copying" in name or "matching" in name]
    assert bool(heads) == (second == "full")
    save_prefix(tmp_path / "tuned", tuned, start.base, start=start)
    loaded = load_prefix(tmp_path / "tuned")
    np.testing.assert_allclose(answers(loaded.model), answers(tuned.model), atol=1e-4)
    assert loaded.manifest.prefix.start is not None and loaded.manifest.prefix.start.fingerprint == start.fingerprint
    moved = shutil.copytree(tmp_path / "tuned", tmp_path / "far" / "away" / "tuned")
    with pytest.raises(AdapterError, match=r"the meta-trained model beneath .* is not at .*start="):
        load_prefix(moved)
    np.testing.assert_allclose(answers(load_prefix(moved, start=folder).model), answers(tuned.model), atol=1e-4)


def test_what_reads_in_blocks_goes_on_so(base: Base, tmp_path: Path) -> None:
    save_prefix(tmp_path / "first", trained(build_prefix(base, blocks=True), "full"), base)
    start = start_from(tmp_path / "first")
    tuned = trained(start.model, "lora")
    save_prefix(tmp_path / "second", tuned, start.base, start=start)
    expected, loaded = answers(tuned.model), load_prefix(tmp_path / "second")
    assert loaded.model.blocks and loaded.manifest.prefix.blocks
    np.testing.assert_allclose(answers(loaded.model), expected, atol=1e-4)
    loaded.model.base_model.model.blocks = False
    assert np.abs(answers(loaded.model) - expected).max() > 1e-3


def test_heads_train_with_an_adapter_if_asked(folders: dict[str, Any], tmp_path: Path) -> None:
    start = start_from(folders["full"][0], train_heads=True)
    tuned = trained(start.model, "lora")
    assert any("copying" in name for name, _ in tuned.trainable())
    save_prefix(tmp_path / "tuned", tuned, start.base, start=start)
    np.testing.assert_allclose(answers(load_prefix(tmp_path / "tuned").model), answers(tuned.model), atol=1e-4)


def test_another_start_and_damage_are_refused(folders: dict[str, Any], base: Base, tmp_path: Path) -> None:
    (full, _), (lora, _) = folders["full"], folders["lora"]
    start = start_from(full)
    tuned = trained(start.model, "lora")
    save_prefix(tmp_path / "tuned", tuned, start.base, start=start)
    with pytest.raises(AdapterError, match="was trained over a model with the seal"):
        load_prefix(tmp_path / "tuned", start=lora)
    with pytest.raises(AdapterError, match="the training began from"):
        save_prefix(
            tmp_path / "x", tuned, start.base, start=PrefixStart(start.model, start.base, lora, start.fingerprint)
        )
    assert not (tmp_path / "x").exists()
    copy = shutil.copytree(full, tmp_path / "copy")
    (copy / "trained.safetensors").write_bytes((copy / "trained.safetensors").read_bytes()[:-4])
    with pytest.raises(AdapterError, match="cut off or changed"):
        load_prefix(copy)
    told = json.loads((full / "tunelet.json").read_text())
    told["prefix"]["matching"] = False
    shutil.copy(full / "trained.safetensors", copy / "trained.safetensors")
    (copy / "tunelet.json").write_text(json.dumps(told))
    with pytest.raises(AdapterError, match="matching"):
        load_prefix(copy)
    with pytest.raises(AdapterError, match="not an adapter"):
        load_prefix(tmp_path)


def test_what_is_not_finite_is_not_saved(base: Base, tmp_path: Path) -> None:
    tuned = trained(build_prefix(base, matching=False), "full")
    with torch.no_grad():
        next(p for name, p in tuned.trainable() if name == "copying.query").fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"copying\.query holds NaN"):
        save_prefix(tmp_path / "x", tuned, base)
    assert not (tmp_path / "x").exists()
