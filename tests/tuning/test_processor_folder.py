"""The folder of an audio language model: it loads again and says the same, and what was changed is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toy_processor import toy_qwen_folder
from tunelet.base.errors import AdapterError
from tunelet.models.bases import Base, load_base
from tunelet.models.in_context.audio_language import build_audio_language, language_path, load_processor
from tunelet.models.in_context.processor import ProcessorModel
from tunelet.models.settings import ModelSettings
from tunelet.models.speech.protocol import drawing
from tunelet.tuning.methods import prepare
from tunelet.tuning.processor_folder import load_processor_model, save_processor_model
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import targets_within

TEXT = "what is known of the sky"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = toy_qwen_folder(tmp_path_factory.mktemp("qwen"))
    return load_base(ModelSettings(base=str(folder), max_length=200))


@pytest.fixture(scope="module")
def saved(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder, and what its model says of `TEXT`."""
    whole = build_audio_language(base, attention="sdpa")
    path = language_path(whole)
    settings = TuningSettings.model_validate({"targets": "qkv", "r": 2, "dropout": 0.0})
    chosen = settings.model_copy(update={"targets": targets_within(whole.get_submodule(path), path, "qkv", None)})
    tuned = prepare(whole, chosen, total_steps=2, seed=1)
    with drawing(5, "lora"):
        for name, parameter in tuned.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    tuned.model.eval()
    model = ProcessorModel(tuned.model, load_processor(base), chat=True)
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    written = save_processor_model(folder, tuned, base, model, scores={"loss": 0.5})
    assert written.scores == {"loss": 0.5} and written.processor.chat
    return folder, model.chance(TEXT)


@pytest.fixture
def folder(saved: tuple[Path, float], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[0], tmp_path / "adapter"))


def changed(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_loaded_says_what_was_saved(folder: Path, saved: tuple[Path, float], base: Base) -> None:
    loaded = load_processor_model(folder)
    assert (loaded.max_length, loaded.overridden, loaded.model.chat) == (200, (), True)
    assert loaded.model.chance(TEXT) == pytest.approx(saved[1], abs=1e-6)
    plain = ProcessorModel(build_audio_language(base, attention="sdpa"), load_processor(base))
    assert plain.chance(TEXT) != pytest.approx(saved[1], abs=1e-3)


def test_another_processor_is_refused(folder: Path, base: Base, tmp_path: Path) -> None:
    assert base.name
    other = Path(shutil.copytree(base.name, tmp_path / "other"))
    (settings,) = (path for path in other.glob("*processor*_config.json") if "hop_length" in path.read_text())

    def window(content: dict[str, Any]) -> None:
        content.get("feature_extractor", content)["n_fft"] = 256

    changed(settings, window)
    with pytest.raises(AdapterError, match=r"processor.sha256.*the processor of the training has sha256"):
        load_processor_model(folder, base=str(other))
    loaded = load_processor_model(folder, base=str(other), force=True)
    assert any("the processor of the training" in problem for problem in loaded.overridden)


def test_another_base_and_damage_are_refused(folder: Path, base: Base, tmp_path: Path) -> None:
    assert base.name
    other = Path(shutil.copytree(base.name, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(AdapterError, match="fingerprint"):
        load_processor_model(folder, base=str(other))
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        load_processor_model(folder)


def test_an_adapter_of_plain_peft_does_not_say_how_it_is_asked(folder: Path) -> None:
    for name in ("tunelet.json", "manifest.json"):
        (folder / name).unlink()
    with pytest.raises(AdapterError, match="does not say how its model is asked"):
        load_processor_model(folder)
