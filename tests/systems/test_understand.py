"""The system `understand` over toy tasks: whole runs over a meta-trained base, their cells, resuming, and the check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from toy_understand import toy_understand
from tunelet.cli import main
from tunelet.data.understanding.load import load_split
from tunelet.data.understanding.tasks import find_task
from tunelet.evaluation.understanding import AnswerScores, score_answers
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.understand_folder import ToldTask, load
from tunelet.training.events import Event, Note, RunFinished

#: blocks and a base that is meta-trained for two steps on the task that nobody asks
STAGE = {
    "data": {"tasks": ["{tasks}/pets.yaml"]},
    "episodes": {"number": 12, "validation": 4, "most_classes": 2},
    "training": {"max_steps": 2, "batch": {"size": 4}, "evaluate_every": 1, "threads": 1, "precision": "fp32"},
}
BLOCKS = ("none", "random", "knn", "definition")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``base``, ``tasks`` and ``toy.yaml``."""
    folder = tmp_path_factory.mktemp("understand")
    tree = yaml.safe_load(toy_understand(folder).read_text(encoding="utf-8"))
    stage = yaml.safe_load(yaml.safe_dump(STAGE).replace("{tasks}", str(folder / "tasks")))
    tree |= {
        "base": {"stage": stage},
        "seeds": [1],
        "evaluation": {"lora_scale": [None, 0.0], "definitions": "canonical"},
    }
    tree["runs"] = [block for block in tree["runs"] if block["name"] in BLOCKS]
    (folder / "toy.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ended(place: Path) -> Path:
    """A sweep that has ended."""
    return run_recipe(load_recipe(place / "toy.yaml"), out=place / "out")


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def run_of(folder: Path, label: str) -> dict[str, Any]:
    return next(run for run in result_of(folder)["runs"] if run["label"] == label)


def answers_of(folder: Path, run: dict[str, Any], cell: dict[str, Any]) -> list[dict[str, Any]]:
    text = (folder / run["folder"] / cell["answers_file"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_task_has_a_cell_for_each_way(ended: Path) -> None:
    result = result_of(ended)
    validate_as(model_of(result["system"]), result)
    assert result["finished"] and [run["label"] for run in result["runs"]] == list(BLOCKS)
    for run in result["runs"]:
        found = {(cell["task"], cell["k"], cell["lora_scale"]) for cell in run["cells"]}
        scales = (None, 0.0) if run["label"] == "random" else (None,)
        assert found == {(task, k, scale) for task in ("moods", "places") for k in (0, 2) for scale in scales}
        assert all(cell["n"] == 8 and cell["matched"] == (cell["source"] == cell["task"]) for cell in run["cells"])
    assert len(result["cells"]) == sum(len(run["cells"]) for run in result["runs"])
    assert not {"per_class", "counts"} & set(result["cells"][0])


def test_cells_are_what_their_answers_say(ended: Path) -> None:
    facts = result_of(ended)["data"]["tasks"]
    for label in BLOCKS:
        run = run_of(ended, label)
        for cell in run["cells"]:
            rows, labels = answers_of(ended, run, cell), facts[cell["task"]]["labels"]
            again = score_answers(
                [row["labels"] for row in rows], [row["answer"] for row in rows], labels, multi_label=False
            )
            assert cell["macro_f1"] == again.macro_f1 and cell["value"] == again.value(cell["metric"])
            told = {
                "labels": labels,
                "multi_label": False,
                "n": cell["n"],
                **cell["counts"],
                "confusion": cell["confusion"],
            }
            assert AnswerScores.from_json(told) == again
            assert {len(row["demonstrations"]) for row in rows} <= {0 if label == "definition" else cell["k"]}


def test_all_runs_are_asked_about_the_same_items_with_the_same_demonstrations(ended: Path) -> None:
    seen: dict[tuple[str, int], set[str]] = {}
    for label in ("none", "random", "knn"):
        run = run_of(ended, label)
        for cell in run["cells"]:
            rows = answers_of(ended, run, cell)
            told = json.dumps([[row["id"], sorted(row["demonstrations"])] for row in rows])
            seen.setdefault((cell["task"], cell["k"]), set()).add(told)
    assert all(len(found) == 1 for found in seen.values())


def test_the_base_is_meta_trained_once_and_the_run_tells_its_maps(ended: Path) -> None:
    result = result_of(ended)
    assert len(list((ended / ".cache" / "understand-base").iterdir())) == 1 and len(result["base_runs"]) == 1
    run = run_of(ended, "random")
    assert run["start"]["fingerprint"] == run_of(ended, "none")["start"]["fingerprint"]
    assert run["maps"]["batches"] == 4 == run["resources"]["steps"]
    assert run["prompts"]["tuning"]["prompts"] == run["resources"]["samples"]
    assert run["metrics"]["validation"]["n"] == 6 and run["train_examples"] == 18
    assert run_of(ended, "none")["maps"] is None and run_of(ended, "knn")["start"] is None


def test_the_adapter_answers_as_the_run_did(ended: Path) -> None:
    run = run_of(ended, "random")
    loaded = load(ended / run["folder"] / "adapter")
    task = find_task(ended.parent / "tasks" / "places.yaml")
    texts = {one.id: one.text for one in load_split(task, "test")}
    for cell in run["cells"]:
        if cell["task"] == "places" and cell["lora_scale"] is None:
            told = answers_of(ended, run, cell)
            asked = ToldTask(task, loaded, cell["k"], encoder=str(ended.parent / "base"))
            for row, before in zip(asked.rows([texts[row["id"]] for row in told]), told, strict=True):
                assert row["label"] == before["answer"][0]
                assert list(row["scores"].values()) == pytest.approx(before["scores"], abs=1e-4)
                assert len(row["demonstrations"]) == cell["k"]  # words that the toy does not know make ties
    # without LoRA's update it is the base
    scaled = next(c for c in run["cells"] if (c["task"], c["k"], c["lora_scale"]) == ("places", 2, 0.0))
    base = run_of(ended, "none")
    plain = next(c for c in base["cells"] if (c["task"], c["k"]) == ("places", 2))
    assert [r["answer"] for r in answers_of(ended, run, scaled)] == [
        r["answer"] for r in answers_of(ended, base, plain)
    ]


@pytest.mark.parametrize("steps", [2, 5])
def test_an_interrupted_run_goes_on_and_ends_the_same(ended: Path, place: Path, tmp_path: Path, steps: int) -> None:
    """Stopped while it trains, and while it is asked."""
    recipe = load_recipe(place / "toy.yaml")
    options: dict[str, Any] = {"out": tmp_path / "out", "only": "random-*"}
    shutil.copytree(ended / ".cache", tmp_path / "out" / ".cache")
    asked = iter([False] * steps + [True])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, **options, interrupted=lambda: next(asked))
    events: list[Event] = []
    run_recipe(recipe, **options, observer=events.append)
    first, again = run_of(ended, "random"), run_of(tmp_path / "out", "random")
    for key in ("cells", "metrics", "maps", "prompts", "best_step", "start"):
        if key == "start":
            assert first[key]["fingerprint"] == again[key]["fingerprint"]
        else:
            assert first[key] == again[key], key
    for name in ("adapter/adapter_model.safetensors", "metrics.jsonl", *(c["answers_file"] for c in first["cells"])):
        assert (ended / first["folder"] / name).read_bytes() == (tmp_path / "out" / again["folder"] / name).read_bytes()
    told = [event.text for event in events if isinstance(event, Note) and "macro-F1" in event.text]
    assert len(told) == len(first["cells"]) - (steps - 4 if steps > 4 else 0)
    assert not (tmp_path / "out" / again["folder"] / "state").exists()


def test_a_second_start_does_nothing(ended: Path, place: Path) -> None:
    events: list[Event] = []
    run_recipe(load_recipe(place / "toy.yaml"), out=ended, observer=events.append)
    assert [event.skipped for event in events if isinstance(event, RunFinished)] == [True] * 4
    assert (ended / "report.html").stat().st_size > 10_000


def test_the_check_lists_tasks_runs_and_what_each_stage_costs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(place / "toy.yaml")]) == 0
    told = capsys.readouterr().out
    assert "4 runs in 4 groups" in told and "moods, places" in told
    assert all(what in told for what in ("meta-training", "1 runs, validation aside", "96 prompts of 2 runs"))
