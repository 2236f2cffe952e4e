"""A tiny Qwen2-Audio in `understand`: tuned under every regime, stored, asked by text and sound, resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen2AudioForConditionalGeneration

from toy import toy_base
from toy_processor import toy_qwen, toy_qwen_folder
from toy_understand import toy_spoken_tasks
from tunelet.base.errors import AdapterError, BaseModelError, InputError
from tunelet.cli import main
from tunelet.data.understanding.tasks import find_task
from tunelet.models.declared import declare
from tunelet.models.in_context.audio_language import language_path
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.understand_folder import ToldTask, load
from tunelet.tuning.targets import targets_within

RECIPE = """\
system: understand
name: toy-processor
data: {{sources: [{tasks}/moods.yaml], tasks: [{tasks}/places.yaml], k: [0, 1, 3], items: 2, validation: 2,
  train_limit: 6, query: [text, speech], encoder: {encoder}}}
model: {{kind: processor, base: {base}, max_length: 1400}}
approach: {{query: speech}}
tuning: {{r: 2, alpha: 4}}
training: {{max_steps: 2, batch: {{size: 2}}, learning_rate: 1e-2, evaluate_every: 1, threads: 1, precision: fp32}}
evaluation: {{definitions: canonical}}
runs:
  - name: none
    approach: {{regime: none}}
  - name: regular
    approach: {{regime: regular, query: text}}
    tuning: {{gradient_checkpointing: true}}
    training: {{precision: bf16, frozen: bf16}}
  - name: symbol
    approach: {{regime: symbol}}
    model: {{chat: true}}
    tuning: {{method: dora, targets: qv, layers: [1]}}
  - name: random
    approach: {{regime: random}}
    evaluation: {{lora_scale: [null, 0.0], answers: [constrained, free-lenient]}}
"""
#: how many times each task is asked in the run `random`
WAYS = 2 * 3 + 2 * 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a tiny model, tasks with sound, and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("processor")
    named = {"base": toy_qwen_folder(folder / "qwen", 1500), "encoder": toy_base(folder / "base")}
    tasks = toy_spoken_tasks(folder / "tasks")
    (folder / "toy.yaml").write_text(RECIPE.format(tasks=tasks, **named), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml"), out=place / "out")


def runs_of(folder: Path) -> dict[str, dict[str, Any]]:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {run["label"]: run for run in result["runs"]}


def answers_of(folder: Path, run: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    (cell,) = [cell for cell in run["cells"] if all(cell[key] == value for key, value in wanted.items())]
    text = (folder / run["folder"] / cell["answers_file"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_regime_is_tuned_and_asked_by_text_and_sound(ended: Path) -> None:
    runs = runs_of(ended)
    assert list(runs) == ["none", "regular", "symbol", "random"]
    for label, run in runs.items():
        cells = [(cell["query"], cell["k"]) for cell in run["cells"] if cell["main"]]
        assert cells == [(query, k) for query in ("text", "speech") for k in (0, 1, 3)]
        if label != "none":
            assert run["resources"]["trainable_parameters"] > 0 and run["prompts"]["tuning"]["prompts"] == 4
    assert len(runs["random"]["cells"]) == WAYS
    # a sound changes the answer; without LoRA's update the model is the base
    scored = {q: [r["scores"] for r in answers_of(ended, runs["none"], query=q, k=0)] for q in ("text", "speech")}
    assert scored["text"] != scored["speech"]
    usual = {"query": "text", "k": 1, "answers": "constrained"}
    base, scaled, tuned = (
        [row["scores"] for row in answers_of(ended, runs[label], **usual, lora_scale=scale)]
        for label, scale in (("none", None), ("random", 0.0), ("random", None))
    )
    for wanted, found in zip(base, scaled, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)
    assert base != tuned


def test_the_adapter_is_pefts_and_in_the_language_model_alone(ended: Path, place: Path) -> None:
    folder = ended / runs_of(ended)["random"]["folder"] / "adapter"
    stored = load_file(folder / "adapter_model.safetensors")
    assert len(stored) == 2 * 2 * 3 and all(".language_model.layers." in name for name in stored)
    assert any(".lora_B." in name and bool(tensor.any()) for name, tensor in stored.items())
    plain = PeftModel.from_pretrained(Qwen2AudioForConditionalGeneration.from_pretrained(place / "qwen"), folder).eval()
    model: Any = load(folder).model
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(plain(input_ids=ids).logits, model.model(input_ids=ids).logits)


@pytest.mark.parametrize("label", ["random", "symbol"])
def test_a_run_is_read_again_and_answers_as_it_did(ended: Path, place: Path, label: str) -> None:
    run = runs_of(ended)[label]
    loaded, task = load(ended / run["folder"] / "adapter"), find_task(place / "tasks" / "places.yaml")
    model: Any = loaded.model
    assert model.chat is (label == "symbol")
    sounds = place / "tasks" / "data-places"
    told = answers_of(ended, run, query="speech", k=0)
    asked = ToldTask(task, loaded).rows([str(sounds / f"{row['id']}.wav") for row in told])
    for row, before in zip(asked, told, strict=True):
        assert [row["label"]] == before["answer"] and "heard" not in row
        assert list(row["scores"].values()) == pytest.approx(before["scores"], abs=1e-4)
    (row,) = ToldTask(task, loaded, 2, encoder=str(place / "base")).rows(["my cat was at home"])
    assert len(row["demonstrations"]) == 2 and set(row["scores"]) == {"home", "work"}


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bytes(
    ended: Path, place: Path, tmp_path: Path
) -> None:
    """Stopped while it trains, and while it is asked."""
    recipe = load_recipe(place / "toy.yaml")
    options: dict[str, Any] = {"out": tmp_path / "out", "only": "random-*"}
    done: list[int] = []
    for calls in (1, 5):
        asked = iter([False] * (calls - 1) + [True])
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, **options, interrupted=lambda: next(asked))  # noqa: B023 (called here)
        done.append(len([*(tmp_path / "out").rglob("answers/*/*.jsonl")]))
    run_recipe(recipe, **options)
    first, again = runs_of(ended)["random"], runs_of(tmp_path / "out")["random"]
    assert done[0] == 0 < done[1] < WAYS
    assert first["cells"] == again["cells"] and first["maps"] == again["maps"]
    one, other = (f / r["folder"] / "adapter" for f, r in ((ended, first), (tmp_path / "out", again)))
    assert [path.read_bytes() for path in sorted(one.iterdir())] == [p.read_bytes() for p in sorted(other.iterdir())]


def test_a_check_tells_what_it_will_cost(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(place / "toy.yaml"), "-o", "data.k=[0]"]) == 0
    told = capsys.readouterr().out
    assert "4 runs in 4 groups" in told and "nothing is wrong" in told


def test_files_that_are_none_or_others_are_told(ended: Path, place: Path, tmp_path: Path) -> None:
    for base in (place / "base", tmp_path):
        with pytest.raises(BaseModelError):
            run_recipe(load_recipe(place / "toy.yaml", [f"model.base={base}"]), out=tmp_path / "out")
    folder = ended / runs_of(ended)["random"]["folder"] / "adapter"
    shutil.copytree(place / "qwen", tmp_path / "qwen")
    settings = next(p for p in (tmp_path / "qwen").iterdir() if "hop_length" in p.read_text("latin-1"))
    settings.write_text(settings.read_text(encoding="utf-8").replace('"hop_length": 160', '"hop_length": 200'))
    with pytest.raises(AdapterError, match="the processor of the training has sha256"):
        load(folder, base=str(tmp_path / "qwen"))
    other = shutil.copytree(folder, tmp_path / "other")
    weights = other / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(AdapterError, match="it was changed after saving"):
        load(other)


def test_targets_are_those_of_the_language_model() -> None:
    model, _ = toy_qwen()
    path = language_path(model)
    part = model.get_submodule(path)
    declare(part, fresh_modules=(), task_type=None)
    assert targets_within(part, path, "qv", [1]) == tuple(
        f"{path}.layers.1.self_attn.{name}_proj" for name in ("q", "v")
    )
    assert len(targets_within(part, path, "all-linear", None)) == 2 * 7
    with pytest.raises(InputError, match="no target in layer 2; layers with targets: 0, 1"):
        targets_within(part, path, "qkv", [2])
    with pytest.raises(InputError, match="'fc1' matches no linear module"):
        targets_within(part, path, ["fc1"], None)
