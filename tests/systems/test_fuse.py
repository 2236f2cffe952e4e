"""The system `fuse` over toy tasks: whole runs, what they share, resuming, the table for tools, and the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from toy_fuse import toy_fuse
from tunelet.base.errors import DataError, RecipeError
from tunelet.cli import main
from tunelet.report import build_report
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.fuse_columns import columns_of, pairs_of
from tunelet.systems.fuse_lengths import Lengths, lengths_of, scaled
from tunelet.systems.fuse_recipe import load_data, with_steps
from tunelet.training.estimate import Estimate
from tunelet.training.events import Event, RunFinished
from tunelet.training.memory import MemoryBreakdown
from tunelet.training.settings import BatchSettings, TrainingSettings
from tunelet.tuning.fusion.fusion_folder import load_fusion

#: one cell a method
SMALL = ["seeds=[1]", "data.sizes=[8]", "data.targets=[moods]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base``, ``tasks`` and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("fuse")
    toy_fuse(folder, "attention", "single", "merge", "mean", "without", "layer", "joint", "shared", "residual",
             "heads", "alone")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml", SMALL), data_dir=place / "tasks", out=place / "out")


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def run_of(folder: Path, label: str) -> dict[str, Any]:
    return next(run for run in result_of(folder)["runs"] if run["label"] == label)


def test_the_result_has_a_cell_for_each_run(ended: Path) -> None:
    result = result_of(ended)
    checked = validate_as(model_of(result["system"]), result)
    assert type(checked).__name__ == "FuseResult" and result["finished"]
    assert [cell["method"] for cell in result["cells"]] == [run["label"] for run in result["runs"]]
    for cell, run in zip(result["cells"], result["runs"], strict=True):
        assert set(cell) == {"task", "method", "train_size", "seed", "accuracy", "macro_f1", "n"}
        assert (cell["task"], cell["train_size"], cell["seed"], cell["n"]) == ("moods", 8, 1, 12)
        assert cell["accuracy"] == run["metrics"]["test"]["accuracy"]
        rows = (ended / run["folder"] / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        right = [json.loads(row)["label"] == json.loads(row)["predicted"] for row in rows]
        assert sum(right) / len(right) == pytest.approx(cell["accuracy"])


def test_experts_are_trained_once_and_the_target_on_its_cell(ended: Path) -> None:
    folders = sorted(path.name.rpartition("-")[0] for path in (ended / ".cache" / "experts").iterdir())
    assert folders == ["expert-moods-8-seed1", "expert-places-12-seed1", "expert-sides-12-seed1"]
    single = run_of(ended, "single")
    assert single["stages"]["experts"] == 0 and run_of(ended, "attention")["stages"]["experts"] > 0


def test_the_check_forecasts_what_the_sweep_then_did(
    ended: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(place / "tasks"), "--json", str(tmp_path / "found.json")]
    assert main(["check", str(place / "toy.yaml"), *(part for one in SMALL for part in ("-o", one)), *options]) == 0
    told = capsys.readouterr().out
    assert "forecast by stage" in told and "3 adapters" in told
    found = json.loads((tmp_path / "found.json").read_text())
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["experts", "vectors", "methods"]
    assert stages["experts"]["steps"] == 3 * 4 and stages["methods"]["steps"] == 10 * 4
    columns = [sorted(column.glob("*.safetensors")) for column in (ended / ".cache" / "vectors").iterdir()]
    kept = sum(len(load_file(shard)["keys"]) for shards in columns for shard in shards)
    assert stages["vectors"]["what"] == f"{kept:,} pairs of text and adapter"
    runs = {run["group"]: run["resources"] for run in result_of(ended)["runs"]}
    for group in found["groups"]:
        counts = group["estimate"]["trainable"], group["estimate"]["parameters"]
        run = runs[group["name"]]
        assert counts == (run["trainable_parameters"], run["total_parameters"]), group["name"]
        assert (group["estimate"]["seconds"] == 0) is group["name"].startswith("single")
    alone = sum(group["estimate"]["seconds"] for group in found["groups"])
    shared = stages["experts"]["seconds"] + stages["vectors"]["seconds"]
    assert shared > 0 and found["seconds"] == pytest.approx(alone + shared)
    assert stages["methods"]["seconds"] == pytest.approx(alone)


def test_what_several_cells_share_is_forecast_once(place: Path) -> None:
    tasks = load_recipe(place / "toy.yaml", ["runs=[{name: a}, {name: m, approach: {method: merge}}]", "data.test=4"])
    data = load_data(tasks, place / "tasks")
    columns = columns_of(tasks.runs, data)
    # base; 3 tasks' experts of limit 12; own and merged of 2 targets, 2 sizes, 2 seeds
    assert len(columns) == 1 + 3 + 8 + 8
    targets = {}
    for target in ("moods", "places"):
        drawn = [data.of(target, size, seed).splits for size in (8, None) for seed in (1, 2)]
        targets[target] = {one.text for splits in drawn for rows in splits.values() for one in rows}
    base = next(key for key in columns if key[0] == "base")
    assert pairs_of({base: columns[base]}, data) == sum(len(found) for found in targets.values())


def test_a_forecast_is_scaled_by_steps_and_evaluations() -> None:
    training = TrainingSettings(epochs=3, batch=BatchSettings(size=16), evaluate_every=10)
    assert lengths_of(training, 100) == Lengths(21, 2)
    memory = MemoryBreakdown(1, 1, 1, 1)
    timed = Estimate(5, 2, memory, 10.0, 4.0, 7.0, 28.0, (1.0,), "good")
    longer = scaled(timed, Lengths(10, 2), Lengths(30, 3))
    assert (longer.train_seconds, longer.evaluation_seconds, longer.seconds) == (30.0, 6.0, 36.0)
    assert longer.seconds_low == pytest.approx(7 * 36 / 14) and longer.seconds_high == pytest.approx(28 * 36 / 14)


def test_the_weights_are_of_the_experts_that_took_part(ended: Path) -> None:
    for label, experts in (
        ("attention", ["moods", "places", "sides"]),
        ("without", ["places", "sides"]),
        ("heads", ["moods", "places", "sides"]),
        ("alone", ["moods"]),
        ("layer", ["moods", "places", "sides"]),
        ("joint", ["moods", "places", "sides"]),
    ):
        attention = run_of(ended, label)["attention"]
        assert attention["experts"] == experts
        assert sum(attention["mean"]) == pytest.approx(1, abs=1e-4)
        assert attention["by_label"].keys() == {"anger", "joy", "sadness"}
    assert run_of(ended, "mean")["attention"] is None and run_of(ended, "shared")["attention"] is None


@pytest.mark.parametrize("label", ["attention", "heads", "alone"])
def test_the_fusion_folder_answers_as_the_run_did(label: str, ended: Path) -> None:
    run = run_of(ended, label)
    loaded = load_fusion(ended / run["folder"] / "adapter")
    assert loaded.experts == (("moods",) if label == "alone" else ("moods", "places", "sides"))
    rows = [json.loads(r) for r in (ended / run["folder"] / "predictions" / "test.jsonl").read_text().splitlines()]
    batch = loaded.tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    logits = loaded.model(batch["input_ids"], batch["attention_mask"]).logits
    assert [loaded.task.label_names[i] for i in logits.argmax(1)] == [row["predicted"] for row in rows]


def test_a_fusion_that_starts_as_the_single_adapter_has_to_beat_it(ended: Path) -> None:
    run, single = run_of(ended, "residual"), run_of(ended, "single")
    rows = [json.loads(row) for row in (ended / run["folder"] / "metrics.jsonl").read_text().splitlines()]
    start = next(row["validation"] for row in rows if "validation" in row)
    assert rows[0]["step"] == 0 and start["accuracy"] == single["metrics"]["validation"]["accuracy"]
    assert start["loss"] == pytest.approx(single["metrics"]["validation"]["loss"], abs=1e-5)
    assert run["metrics"]["validation"]["accuracy"] >= start["accuracy"]
    assert load_fusion(ended / run["folder"] / "adapter").manifest.fusion.own == "moods"  # type: ignore[union-attr]


@pytest.mark.parametrize("label", ["attention", "residual", "layer"])
def test_predict_takes_a_fusion_as_it_takes_an_adapter(
    label: str, ended: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(ended, label)
    folder, data = ended / run["folder"] / "adapter", place / "tasks" / "moods" / "test.jsonl"
    expected = [json.loads(r) for r in (ended / run["folder"] / "predictions" / "test.jsonl").read_text().splitlines()]
    assert main(["predict", str(folder), "--file", str(data), "--out", str(tmp_path / "out.jsonl")]) == 0
    found = [json.loads(row) for row in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in found] == [json.loads(row)["text"] for row in data.read_text().splitlines()]
    by_text = {row["text"]: row for row in expected}
    for row in found:
        assert row["predicted"] == by_text[row["text"]]["predicted"]
        assert row["probabilities"] == pytest.approx(by_text[row["text"]]["probabilities"], abs=1e-5)
    assert main(["predict", str(folder), expected[0]["text"], "--batch-size", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["predicted"] == expected[0]["predicted"]
    assert main(["predict", str(folder), "one", "--precision", "int8"]) == 2
    assert "a fusion answers in fp32 alone" in capsys.readouterr().err


def test_predict_tells_what_is_missing_and_takes_an_expert_from_elsewhere(
    ended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(ended / run_of(ended, "attention")["folder"] / "adapter", tmp_path / "f"))
    shutil.move(folder / "adapters" / "01", tmp_path / "places")
    assert main(["predict", str(folder), "one"]) == 2
    assert "adapters/01/" in capsys.readouterr().err
    assert main(["predict", str(folder), "one", "--expert", "places"]) == 2
    assert "--expert: found 'places', expected NAME=DIR" in capsys.readouterr().err
    options = ["--expert", f"places={tmp_path / 'places'}", "--force"]
    assert main(["predict", str(folder), "one", *options]) == 0
    assert json.loads(capsys.readouterr().out)["predicted"]
    assert main(["predict", str(folder), "one", "--expert", f"places={folder / 'adapters' / '02'}", "--force"]) == 0
    assert main(["predict", str(folder / "adapters" / "00"), "one", *options]) == 2
    assert "holds one adapter" in capsys.readouterr().err


def test_the_report_is_written_and_again_the_same(ended: Path) -> None:
    before = (ended / "report.html").read_bytes(), (ended / "report.md").read_text(encoding="utf-8")
    assert build_report(ended).html == ended / "report.html"
    assert (ended / "report.html").read_bytes() == before[0]
    assert "Attention: task (row) over experts (column)" in before[0].decode()
    for told in ("mean over tasks", "Differences in test accuracy", "Faults of the paper", "Cost of a run"):
        assert told in before[1]
    lines = (ended / "csv" / "attention.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 3 + 2 + 3 + 3 + 3 + 3 + 1


def test_a_new_size_trains_only_what_is_new(ended: Path, place: Path) -> None:
    events: list[Event] = []
    sizes = [*SMALL[:1], "data.sizes=[8, 6]", *SMALL[2:]]
    recipe = load_recipe(place / "toy.yaml", sizes)
    out = run_recipe(recipe, data_dir=place / "tasks", out=ended, only="attention-*", observer=events.append)
    done = [event for event in events if isinstance(event, RunFinished)]
    assert [(event.name, event.skipped) for event in done] == [
        ("attention-moods-8-seed1", True),
        ("expert-moods-6-seed1", False),
        ("attention-moods-6-seed1", False),
    ]
    assert (out / "report.html").is_file()
    # the sweep as it was, for the other tests
    run_recipe(load_recipe(place / "toy.yaml", SMALL), data_dir=place / "tasks", out=ended, only="attention-*")


def test_an_interrupted_cell_goes_on_and_ends_the_same(ended: Path, place: Path, tmp_path: Path) -> None:
    recipe = load_recipe(place / "toy.yaml", SMALL)
    options: dict[str, Any] = {"data_dir": place / "tasks", "out": tmp_path / "out", "only": "attention-*"}
    shutil.copytree(ended / ".cache" / "experts", tmp_path / "out" / ".cache" / "experts")
    asked = iter([False] * 2 + [True])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, **options, interrupted=lambda: next(asked))
    run_recipe(recipe, **options)
    first, again = run_of(ended, "attention"), run_of(tmp_path / "out", "attention")
    assert again["metrics"] == first["metrics"] and again["best_step"] == first["best_step"]
    assert again["attention"] == first["attention"]


def test_a_folder_of_adapters_takes_the_place_of_training(ended: Path, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    folder.mkdir()
    for path in sorted((ended / ".cache" / "experts").iterdir()):
        name, size = path.name.split("-")[1:3]
        if size != "6":
            (folder / name).symlink_to(path.resolve())
    recipe = load_recipe(place / "toy.yaml", [*SMALL, f"experts.folder={folder}", "data.tasks=[moods]"])
    out = run_recipe(recipe, data_dir=place / "tasks", out=tmp_path / "out", only="attention-*")
    run = run_of(out, "attention")
    assert run["attention"]["experts"] == ["places", "sides", "moods"]
    assert [path.name.rpartition("-")[0] for path in (out / ".cache" / "experts").iterdir()] == ["expert-moods-8-seed1"]


def test_few_examples_are_gone_through_more_often() -> None:
    training = TrainingSettings(epochs=3, batch=BatchSettings(size=16))
    assert with_steps(training, None, 64) is training and with_steps(training, 12, 64) is training
    assert with_steps(training, 320, 256).epochs == 20


def test_the_check_lists_tasks_and_cells(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(place / "tasks"), "--no-estimate"]
    assert main(["check", str(place / "toy.yaml"), *options]) == 0
    told = capsys.readouterr().out
    assert "88 runs in 44 groups" in told and "data: moods, places, sides" in told and "nothing is wrong" in told


WRONG = [
    (["data.targets=[mood]"], RecipeError, "the target 'mood' is not among the tasks"),
    (["data.tasks=[moods, plases]", "data.targets=[moods]"], DataError, "did you mean 'places'"),
    (["data.tasks=[moods]", "data.targets=null"], RecipeError, "one task alone"),
    (["approach.method=full"], RecipeError, "full goes with full alone"),
    (["experts.tuning.method=dora"], RecipeError, "only plain LoRA adapters can be fused"),
    (["fusion.residual=own"], RecipeError, "need the target's own adapter"),
    (["fusion.level=layer", "fusion.head=expert"], RecipeError, "are for level: output"),
    (["fusion.evenness=1"], RecipeError, "fusion.evenness is for approach.method fusion"),
    (["approach.own_expert=false", "approach.other_experts=false"], RecipeError, "no expert is left"),
    (["experts.folder=/nowhere"], RecipeError, "no adapters here"),
]


@pytest.mark.parametrize(("overrides", "kind", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_told_before_any_work(
    place: Path, tmp_path: Path, overrides: list[str], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        run_recipe(load_recipe(place / "toy.yaml", overrides), data_dir=place / "tasks", out=tmp_path / "out")
