"""The folder of a language model: it loads again and scores the same, and what was damaged is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toy_language import toy_decoder, toy_encoder
from tunelet.base.errors import AdapterError, InputError
from tunelet.models.bases import Base
from tunelet.models.language import build_causal_lm, build_masked_lm
from tunelet.models.scoring.causal import CausalScorer
from tunelet.models.scoring.pseudo_likelihood import PseudoLikelihood
from tunelet.tuning.folder import load_adapter
from tunelet.tuning.language_folder import VOCABULARY, load_language_model, save_language_model
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

BUILD = {"masked": build_masked_lm, "causal": build_causal_lm}
LISTS = [["the cat sat", "the cats sat on the mat", ""], ["a dog ran"]]
#: all tokens of the lists, and the special ones
KEPT = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_encoder(tmp_path_factory.mktemp("base"))


def trained(base: Base, kind: str, method: str = "lora") -> Tuned:
    settings = TuningSettings.model_validate({"method": method, "targets": "qkv+dense", "r": 2, "dropout": 0.0})
    tuned = prepare(BUILD[kind](base, seed=3), settings, total_steps=10, seed=1)
    optimizer = tuned.optimizer(learning_rate=0.05)
    for step in range(1, 3):
        import torch

        rows = torch.tensor([[2, 5, 7, 9, 3], [2, 6, 8, 10, 3]])
        tuned.model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        tuned.after_step(step)
        optimizer.zero_grad()
    tuned.model.eval()
    return tuned


def scores_of(model: Any, base: Base, kind: str, kept: Any) -> list[Any]:
    made = PseudoLikelihood if kind == "masked" else CausalScorer
    return made(model, base.tokenizer, max_length=base.max_length, kept=kept).score(LISTS)


@pytest.mark.parametrize("kind", ["masked", "causal"])
@pytest.mark.parametrize("method", ["full", "lora", "adalora", "warmup-rank"])
@pytest.mark.parametrize("kept", [None, KEPT], ids=["all", "cut"])
def test_what_is_loaded_scores_as_what_was_saved(kind: Any, method: str, kept: Any, base: Base, tmp_path: Path) -> None:
    tuned = trained(base, kind, method)
    written = save_language_model(tmp_path / "a", tuned, base, kind, kept, scores={"loss": 1.5})
    loaded = load_language_model(tmp_path / "a")
    assert (loaded.kind, loaded.max_length, loaded.overridden) == (kind, 32, ())
    assert loaded.manifest == written and written.scores == {"loss": 1.5}
    assert (loaded.kept is None) if kept is None else loaded.kept.tolist() == kept.tolist()
    for now, before in zip(loaded.scorer().score(LISTS), scores_of(tuned.model, base, kind, kept), strict=True):
        np.testing.assert_allclose(now, before, atol=1e-5)
    untrained = scores_of(BUILD[kind](base, seed=3), base, kind, kept)
    assert not np.allclose(untrained[0][:2], loaded.scorer().score(LISTS)[0][:2], atol=1e-2)


def test_a_decoder_with_its_own_head(tmp_path: Path) -> None:
    base = toy_decoder(tmp_path / "base")
    settings = TuningSettings.model_validate({"targets": ["c_attn"], "r": 2, "dropout": 0.0})
    tuned = prepare(build_causal_lm(base), settings, total_steps=10, seed=1)
    save_language_model(tmp_path / "a", tuned, base, "causal")
    now = load_language_model(tmp_path / "a").scorer().score(LISTS)
    np.testing.assert_allclose(now[0], scores_of(tuned.model, base, "causal", None)[0], atol=1e-5)


def test_tokens_of_the_lists_are_put_back_into_a_cut_vocabulary(base: Base, tmp_path: Path) -> None:
    save_language_model(tmp_path / "a", trained(base, "masked"), base, "masked", KEPT[:-2])
    loaded = load_language_model(tmp_path / "a")
    with pytest.raises(InputError, match="not in the cut vocabulary"):
        loaded.scorer().score(LISTS)
    wide = loaded.scorer(text for texts in LISTS for text in texts)
    assert wide.kept is not None and wide.kept.tolist() == KEPT.tolist()
    assert np.isfinite(wide.score(LISTS)[0]).all()


@pytest.fixture(scope="module")
def saved(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "a"
    save_language_model(folder, trained(base, "masked"), base, "masked", KEPT)
    return folder


def test_a_vocabulary_that_was_changed_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "a"))
    content = bytearray((folder / VOCABULARY).read_bytes())
    content[-4] ^= 1
    (folder / VOCABULARY).write_bytes(content)
    with pytest.raises(AdapterError, match=r"vocabulary\.safetensors: the content has sha256"):
        load_language_model(folder)
    assert load_language_model(folder, force=True).overridden


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("language", {"kind": "causal", "kept": len(KEPT)}, "seal"),
        ("language", {"kind": "masked"}, "language.kept.*missing"),
        ("probes", [{"text": "a dog ran", "logits": [0.5]}] * 2, "seal"),
        ("scaling", {}, "scaling"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(key: str, value: Any, said: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "a"))
    told = json.loads((folder / "tunelet.json").read_text())
    (folder / "tunelet.json").write_text(json.dumps({**told, key: value}))
    with pytest.raises(AdapterError, match=said):
        load_language_model(folder)


def test_kinds_of_folders_are_not_mixed_up(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="holds a language model, expected a classifier"):
        load_adapter(saved)
    folder = Path(shutil.copytree(saved, tmp_path / "a"))
    told = json.loads((folder / "tunelet.json").read_text())
    told["task"] = told.pop("language")
    (folder / "tunelet.json").write_text(json.dumps(told))
    with pytest.raises(AdapterError, match="holds a classifier, expected a language model"):
        load_language_model(folder)
    (folder / "tunelet.json").unlink()
    (folder / "manifest.json").unlink()
    with pytest.raises(AdapterError, match=r"no tunelet\.json"):
        load_language_model(folder)
