"""SALMONN from toy files in `understand`: tuned under every regime on sound, stored, read again, asked, resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from toy import toy_base
from toy_in_context import toy_rope
from toy_speech import toy_beats, toy_whisper
from toy_understand import toy_spoken_tasks
from tunelet.base.errors import AdapterError, BaseModelError
from tunelet.data.understanding.tasks import find_task
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.understand_folder import ToldTask, load
from tunelet.systems.understand_models import KINDS
from tunelet.systems.understand_opened import Wanted
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.tuning.settings import TuningSettings

RECIPE = """\
system: understand
name: toy-salmonn
data: {{sources: [{tasks}/moods.yaml], tasks: [{tasks}/places.yaml], k: [0, 1, 2, 3, 4, 5], items: 2, validation: 2,
  train_limit: 6, query: [speech], encoder: {base}}}
model: {{kind: salmonn, folder: {folder}, max_length: 1400}}
approach: {{query: speech}}
tuning: {{r: 2, alpha: 4}}
training: {{max_steps: 2, batch: {{size: 2}}, learning_rate: 1e-2, evaluate_every: 1, threads: 1, precision: fp32}}
evaluation: {{definitions: task}}
runs:
  - name: none
    approach: {{regime: none}}
  - name: regular
    approach: {{regime: regular}}
  - name: symbol
    approach: {{regime: symbol}}
    training: {{precision: bf16, frozen: bf16}}
  - name: random
    approach: {{regime: random}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a tiny SALMONN, tasks with sound, and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("salmonn")
    pieces = folder / "pieces"
    toy_whisper(pieces / "whisper")
    language, tokenizer = toy_rope()
    language.config.max_position_embeddings = 1500
    language.save_pretrained(pieces / "vicuna")
    tokenizer.save_pretrained(pieces / "vicuna")
    toy_beats(pieces / "beats.pt")
    base, tasks = toy_base(folder / "base"), toy_spoken_tasks(folder / "tasks")
    (folder / "toy.yaml").write_text(RECIPE.format(base=base, tasks=tasks, folder=pieces), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml"), out=place / "out")


def runs_of(folder: Path) -> dict[str, dict[str, Any]]:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {run["label"]: run for run in result["runs"]}


def test_every_regime_is_tuned_and_asked_by_sound(ended: Path) -> None:
    runs = runs_of(ended)
    assert list(runs) == ["none", "regular", "symbol", "random"]
    for label, run in runs.items():
        cells = [(cell["task"], cell["query"], cell["k"]) for cell in run["cells"]]
        assert cells == [("places", "speech", k) for k in range(6)]
        if label != "none":
            assert run["resources"]["trainable_parameters"] > 0 and run["prompts"]["tuning"]["prompts"] == 4


@pytest.mark.parametrize("wanted", [True, False])
def test_gradients_are_checkpointed_where_the_recipe_says_so(place: Path, wanted: bool) -> None:
    settings = UnderstandModelSettings(kind="salmonn", folder=str(place / "pieces"))
    tuning = TuningSettings(r=2, alpha=4, gradient_checkpointing=wanted)
    opened = KINDS["salmonn"](Wanted(settings, tuning, None, True, 1, place / "cache"))
    tuned = opened.prepare(tuning, 2)
    assert any(getattr(module, "gradient_checkpointing", False) for module in tuned.model.modules()) is wanted


def test_a_run_leaves_what_trained_and_it_is_read_again(ended: Path, place: Path) -> None:
    run = runs_of(ended)["random"]
    folder = ended / run["folder"] / "adapter"
    stored = load_file(folder / "parts.safetensors")
    assert any(".lora_B." in name and bool(tensor.any()) for name, tensor in stored.items())
    assert any(name.startswith("speech_Qformer.") for name in stored) and not any("whisper" in name for name in stored)
    task = find_task(place / "tasks" / "places.yaml")
    loaded = load(folder)
    sound = place / "tasks" / "data-places" / "test0.wav"
    (row,) = ToldTask(task, loaded, 2, encoder=str(place / "base")).rows([str(sound)])
    assert row["label"] in ("home", "work") and len(row["demonstrations"]) == 2 and "heard" not in row
    model: Any = loaded.model
    for name, parameter in model.speech_text.named_parameters():
        if ".lora_A." in name:
            published = "llama_model." + name.removeprefix("language.")
            assert torch.equal(parameter, stored[published])


def test_an_interrupted_run_ends_with_the_same_bytes(ended: Path, place: Path, tmp_path: Path) -> None:
    recipe, asked = load_recipe(place / "toy.yaml"), iter([True])
    options: dict[str, Any] = {"out": tmp_path / "out", "only": "random-*"}
    shutil.copytree(ended / ".cache", tmp_path / "out" / ".cache")  # frames of sound, computed in the same batches
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, **options, interrupted=lambda: next(asked))
    run_recipe(recipe, **options)
    first, again = runs_of(ended)["random"], runs_of(tmp_path / "out")["random"]
    assert first["cells"] == again["cells"] and first["maps"] == again["maps"]
    one, other = (
        f / r["folder"] / "adapter" / "parts.safetensors" for f, r in ((ended, first), (tmp_path / "out", again))
    )
    assert one.read_bytes() == other.read_bytes()


def test_files_that_are_not_there_or_others_are_told(ended: Path, place: Path, tmp_path: Path) -> None:
    recipe = load_recipe(place / "toy.yaml", [f"model.folder={tmp_path}"])
    with pytest.raises(BaseModelError, match="no folder 'whisper' here"):
        run_recipe(recipe, out=tmp_path / "out")
    folder = ended / runs_of(ended)["random"]["folder"] / "adapter"
    (tmp_path / "pieces").mkdir()
    for entry in (place / "pieces").iterdir():
        if entry.name != "beats.pt":
            (tmp_path / "pieces" / entry.name).symlink_to(entry)
    with pytest.raises(AdapterError, match="was tuned over files with the hash"):
        load(folder, base=str(tmp_path / "pieces"))
