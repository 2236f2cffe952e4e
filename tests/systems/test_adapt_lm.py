"""The system `adapt-lm` over toy books: whole runs, their folders, resuming, processes, the forecast and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toy_language import WORDS, toy_decoder, toy_encoder
from tunelet.base.errors import DataError
from tunelet.report import build_report
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import check_recipe, load_recipe, run_recipe
from tunelet.training.events import Event, RunFinished, RunStarted
from tunelet.tuning.language_folder import load_language_model

RECIPE = """\
system: adapt-lm
name: toy-lm
data: {{validation: 0.2, test: 0.2}}
model: {{base: {base}, max_length: 16}}
training:
  epochs: 100
  max_steps: 6
  batch: {{size: 8, pool: 2, evaluation_size: 16}}
  learning_rate: 2e-2
  evaluate_every: 3
  log_every: 2
  threads: 1
  precision: fp32
runs:
  - name: lora
    language: {{vocabulary: cut, minimum_count: 1}}
    tuning: {{method: lora, r: 2}}
  - name: causal
    language: {{kind: causal}}
    tuning: {{method: full}}
"""


def books(folder: Path, *, number: int = 5) -> Path:
    """Books of one paragraph each."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(1)
    for book in range(number):
        # not one letter before the full stop: that would be an initial
        said = [" ".join((*draw.choice(WORDS, 3), draw.choice(WORDS[2:]))).capitalize() + "." for _ in range(12)]
        (folder / f"b{book}.txt").write_text(" ".join(said) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base``, ``books`` and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("adapt")
    toy_encoder(folder / "base")
    books(folder / "books")
    (folder / "toy.yaml").write_text(RECIPE.format(base=folder / "base"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml"), data_dir=place / "books", out=place / "out")


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def test_the_result_is_of_its_schema_and_counts_what_was_asked(ended: Path) -> None:
    result = result_of(ended)
    checked = validate_as(model_of(result["system"]), result)
    assert type(checked).__name__ == "AdaptLmResult" and result["finished"]
    assert result["data"]["unit"] == "book" and result["data"]["units"] == {"train": 3, "validation": 1, "test": 1}
    assert result["selection"] == {"metric": "loss", "split": "validation"}
    masked, causal = result["runs"]
    assert masked["kept"] and causal["kept"] is None
    for run in (masked, causal):
        scores = run["metrics"]["test"]
        assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"])) and scores["words"] == 48
        assert run["resources"]["steps"] == 6 and run["best_step"] in (3, 6)
    # every piece of 12 sentences, and their ends
    assert causal["metrics"]["test"]["tokens"] >= 48 + 12
    assert causal["metrics"]["test"]["word_perplexity"] == pytest.approx(
        np.exp(causal["metrics"]["test"]["loss"] * causal["metrics"]["test"]["tokens"] / 48)
    )


def test_the_folder_scores_as_the_run_says(ended: Path) -> None:
    causal = result_of(ended)["runs"][1]
    loaded = load_language_model(ended / causal["folder"] / "adapter")
    (file,) = [f for f in (ended / ".cache").glob("*.txt") if len(f.read_text().splitlines()) == 36]
    held = [f for f in (ended / ".cache").glob("*.txt") if f != file]
    total = [float(loaded.scorer().score([f.read_text().split("\n")[:-1]])[0].sum()) for f in held]
    said = [causal["metrics"][split]["loss"] * causal["metrics"][split]["tokens"] for split in ("validation", "test")]
    np.testing.assert_allclose(sorted(-np.array(total)), sorted(said), rtol=1e-5)


def test_the_report_is_written_and_again_the_same(ended: Path) -> None:
    before = (ended / "report.html").read_bytes(), (ended / "report.md").read_text(encoding="utf-8")
    assert build_report(ended).html == ended / "report.html"
    assert (ended / "report.html").read_bytes() == before[0]
    assert "test perplexity" in before[1] and "lora" in before[1] and "causal" in before[1] and "%%" not in before[1]
    lines = (ended / "csv" / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3 and "test_word_perplexity" in lines[0]


def test_a_second_run_does_nothing(ended: Path, place: Path) -> None:
    events: list[Event] = []
    run_recipe(load_recipe(place / "toy.yaml"), data_dir=place / "books", out=ended, observer=events.append)
    assert [event.skipped for event in events if isinstance(event, RunFinished)] == [True, True]


def test_an_interrupted_run_goes_on_and_ends_the_same(ended: Path, place: Path, tmp_path: Path) -> None:
    recipe = load_recipe(place / "toy.yaml")
    asked = iter([False] * 3 + [True])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, data_dir=place / "books", out=tmp_path / "out", only="lora", interrupted=lambda: next(asked))
    assert not (tmp_path / "out" / "report.html").exists()
    events: list[Event] = []
    run_recipe(recipe, data_dir=place / "books", out=tmp_path / "out", only="lora", observer=events.append)
    assert [event.step for event in events if isinstance(event, RunStarted)] == [4]
    (again,) = (tmp_path / "out" / "runs").glob("lora-*")
    first = ended / "runs" / again.name
    for name in ("metrics.jsonl", "adapter/adapter_model.safetensors", "adapter/vocabulary.safetensors"):
        assert (again / name).read_bytes() == (first / name).read_bytes(), name
    assert result_of(tmp_path / "out")["finished"] is False
    assert "Half-way" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_two_processes_give_the_same(ended: Path, place: Path, tmp_path: Path) -> None:
    out = run_recipe(load_recipe(place / "toy.yaml"), data_dir=place / "books", out=tmp_path / "out", jobs=2)
    assert [run["metrics"] for run in result_of(out)["runs"]] == [run["metrics"] for run in result_of(ended)["runs"]]


def test_the_forecast(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    checked = check_recipe(load_recipe(place / "toy.yaml"), data_dir=place / "books")
    assert [group.name for group in checked.groups] == ["lora", "causal"]
    lora, causal = (group.estimate for group in checked.groups)
    assert lora is not None and causal is not None and 0 < lora.trainable < causal.trainable == causal.parameters
    assert checked.data["splits"] == {"train": 36, "validation": 12, "test": 12}
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_and_the_embedded_text(tmp_path: Path) -> None:
    toy_decoder(tmp_path / "base")
    (tmp_path / "toy.yaml").write_text(
        f"""\
system: adapt-lm
name: toy
data: {{source: embedded, limit: {{train: 40, validation: 8, test: 8}}}}
model: {{base: {tmp_path / "base"}, max_length: 12}}
language: {{kind: causal}}
tuning: {{targets: [c_attn], r: 2}}
training: {{max_steps: 2, evaluate_every: 1, threads: 1, precision: fp32}}
""",
        encoding="utf-8",
    )
    result = result_of(run_recipe(load_recipe(tmp_path / "toy.yaml"), out=tmp_path / "out"))
    assert result["data"]["unit"] == "passage" and result["data"]["splits"] == {"train": 40, "validation": 8, "test": 8}
    assert result["runs"][0]["name"] == "lora-seed1"


def test_frozen_weights_may_be_held_in_bf16(place: Path, tmp_path: Path) -> None:
    both = "runs=[{name: masked}, {name: causal, language: {kind: causal, vocabulary: cut, minimum_count: 1}}]"
    smaller = ["training.precision=bf16", "training.frozen=bf16", "training.max_steps=2", "training.evaluate_every=1"]
    recipe = load_recipe(place / "toy.yaml", [both, *smaller])
    result = result_of(run_recipe(recipe, data_dir=place / "books", out=tmp_path / "out"))
    assert all(np.isfinite(run["metrics"]["test"]["loss"]) for run in result["runs"])
    assert [run["method"] for run in result["runs"]] == ["lora", "lora"]


def test_text_and_lists_that_are_missing_are_told_together(place: Path) -> None:
    lists = "runs=[{name: a, language: {vocabulary: cut, lists: [none.jsonl]}}]"
    recipe = load_recipe(place / "toy.yaml", [lists])
    with pytest.raises(DataError, match=r"(?s)no such file or folder.*none\.jsonl.*there are no such lists"):
        run_recipe(recipe, data_dir=place / "bocks", out=place / "other")


def test_lists_keep_their_tokens(place: Path, tmp_path: Path) -> None:
    rows = {"id": "a", "ref": "REDO", "nbest": [{"text": "the mat", "score": -1.0}]}
    (tmp_path / "l.jsonl").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    change = f"runs=[{{name: a, language: {{vocabulary: cut, minimum_count: 1000, lists: [{tmp_path / 'l.jsonl'}]}}}}]"
    out = run_recipe(
        load_recipe(place / "toy.yaml", [change, "training.max_steps=1"]), data_dir=place / "books", out=tmp_path / "o"
    )
    (run,) = result_of(out)["runs"]
    kept = load_language_model(out / run["folder"] / "adapter").kept
    assert kept is not None
    # five special tokens, [CLS] and [SEP] of every row among them; the, mat, re, ##do
    assert run["kept"] == len(kept) == 9 and run["metrics"]["test"]["cut_tokens"] > 0
