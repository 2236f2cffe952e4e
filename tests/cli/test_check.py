"""`tunelet check`: the schema, the plan, the data; then with a toy base the forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.mini_schema import faults
from toy_sweep import Toy
from tunelet import systems
from tunelet.base.yaml_lines import read_yaml
from tunelet.cli import check_tables, main
from tunelet.systems.recipes import shipped_recipes

QUICK = ["check", "emotion-quick", "--no-estimate"]


def test_the_schema_is_one_that_editors_understand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "emotion", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    sections = {"system", "name", "title", "data", "model", "tuning", "training", "seeds", "runs"}
    assert schema["properties"].keys() == sections
    recipes = [read_yaml(shipped, "shipped").data for shipped in shipped_recipes().values()]
    assert all(recipe.keys() <= sections for recipe in recipes if recipe["system"] == "classify")


def test_the_schema_of_all_systems_is_told_apart_by_their_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["system"]["enum"] == list(systems.SCHEMAS)
    for name, text in shipped_recipes().items():
        recipe = read_yaml(text, name).data
        assert faults(recipe, schema) == []
        assert faults({**recipe, "trainin": {}}, schema) == ["trainin: unknown key"]
    parts = schema["$defs"].values()
    keys = [entry for part in parts for entry in part.get("properties", {}).values()]
    assert len(keys) > 100 and all(entry.get("description") for entry in keys)


def test_every_key_of_the_schema_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "emotion", "--schema"])
    schema = json.loads(capsys.readouterr().out)
    parts = {"recipe": schema, **schema["$defs"]}
    keys = {f"{part}.{key}": entry for part, body in parts.items() for key, entry in body["properties"].items()}
    assert len(keys) > 50
    assert [key for key, entry in keys.items() if not entry.get("description")] == []


def test_the_plan_the_data_and_the_verdict_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    told = capsys.readouterr().out
    assert "4 runs in 2 groups: lora, full" in told
    assert "480 train, 120 validation, 120 test" in told
    assert "nothing is wrong with this recipe" in told


def test_the_json_says_the_same(tmp_path: Path) -> None:
    assert main([*QUICK, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["data"]["splits"] == {"train": 480, "validation": 120, "test": 120}
    assert [(group["name"], group["seeds"], group["estimate"]) for group in found["groups"]] == [
        ("lora", 2, None),
        ("full", 2, None),
    ]
    assert found["seconds"] is None


def test_overrides_change_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "-o", "seeds=[1,2,3]", "-o", "name=other"]) == 0
    assert "6 runs in 2 groups: lora, full" in capsys.readouterr().out


def test_nothing_is_written_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(QUICK) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 MB"), (1_500_000, "1.5 MB"), (999_000_000, "999.0 MB"), (2_340_000_000, "2.34 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert check_tables.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h")])
def test_durations(seconds: float, text: str) -> None:
    assert check_tables.duration(seconds) == text


# --- the schema as an editor uses it


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> Any:
    """The schema that is printed."""
    assert main(["check", "emotion", "--schema"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_the_schema_accepts_what_is_shipped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name, "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert faults(read_yaml(shipped_recipes()[name], name).data, schema) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"trainin": {}}, "trainin"),
        ({"system": "classfy"}, "system"),
        ({"training": {"epochs": "many"}}, "training.epochs"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"batch": {"siz": 16}}}, "training.batch.siz"),
        ({"training": {"precision": "fp16"}}, "training.precision"),
        ({"tuning": {"method": "lorra"}}, "tuning.method"),
        ({"seeds": []}, "seeds"),
        ({"seeds": ["a"]}, "seeds[0]"),
        ({"runs": [{"grid": {}}]}, "runs"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(change: dict[str, Any], place: str, schema: Any) -> None:
    recipe = {"system": "classify", "name": "mine"}
    assert faults(recipe, schema) == []
    found = faults({**recipe, **change}, schema)
    assert [fault for fault in found if fault.startswith(place)] != [], found


# --- the forecast


def test_the_forecast_is_told_and_nothing_is_written(
    ended: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["check", str(ended.recipe), "--data", str(ended.data), "--json", "found.json"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "4 runs in 2 groups: lora, full" in told
    assert "forecast of one run" in told and "all runs one after the other: about" in told
    assert "nothing is wrong with this recipe" in told
    found = json.loads(Path("found.json").read_text())
    counts = {group["name"]: group["estimate"]["trainable"] for group in found["groups"]}
    expected = {run["group"]: run["resources"]["trainable_parameters"] for run in ended.result()["runs"]}
    assert counts == expected
    assert all(f"{count:,}" in told for count in counts.values())
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_an_interrupt_promises_no_saved_state(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check_recipe(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(systems, "check_recipe", check_recipe)
    assert main(QUICK) == 130
    assert capsys.readouterr().err == "interrupted\n"
