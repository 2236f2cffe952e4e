"""Overrides win, grids span what they say, and every wrong key is told with its place."""

from __future__ import annotations

import copy
import json
import string
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import RecipeError
from tunelet.base.recipe import grid_points, validate, with_overrides
from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree, read_yaml

SECTIONS = ("tuning", "training")
RECIPE = """\
name: toy
tuning: {method: lora, r: 8}
training:
  epochs: 3
  batch: {size: 16}
seeds: [1, 2]
runs:
  - name: lora
    tuning: {alpha: 4}
    grid:
      tuning.r: [2, 4]
      training.learning_rate: [1e-3, 1e-4]
  - name: full
    tuning:
      method: full
"""


class Batch(Settings):
    size: int = Field(16, ge=1, description="examples")


class Training(Settings):
    epochs: float = Field(3.0, gt=0, description="passes")
    learning_rate: float = Field(1e-3, gt=0, description="rate")
    batch: Batch = Field(default_factory=Batch, description="batches")
    every: int | Literal["epoch"] = Field("epoch", description="when")


class Tuning(Settings):
    method: Literal["lora", "full"] = Field("lora", description="method")
    r: int = Field(8, ge=1, description="rank")
    alpha: int | None = Field(None, description="scale")
    bias: bool = Field(False, description="biases")


class Toy(Settings):
    name: str = Field(description="name")
    tuning: Tuning = Field(default_factory=Tuning, description="what")
    training: Training = Field(default_factory=Training, description="how")
    seeds: tuple[int, ...] = Field((1,), description="seeds")


def tree(text: str = RECIPE) -> Tree:
    return read_yaml(text, "r.yaml")


def points(text: str = RECIPE, *overrides: str) -> dict[str, dict[str, Any]]:
    return {point.name: point.tree.data for point in grid_points(with_overrides(tree(text), overrides), SECTIONS)}


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        for point in grid_points(with_overrides(tree(text), overrides), SECTIONS):
            validate(Toy, point.tree)
    return [str(problem) for problem in caught.value.problems]


def get(data: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


# --- overrides

words = st.text(string.ascii_lowercase, min_size=1, max_size=5)
paths = st.lists(words, min_size=1, max_size=3).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)


def as_argument(value: Any) -> str:
    """How a user writes it: lists, mappings and texts that look like other things as JSON, the rest bare."""
    return value if isinstance(value, str) and value not in ("true", "false", "null") else json.dumps(value)


@given(paths, values)
def test_an_override_sets_its_key_and_changes_no_other(path: tuple[str, ...], value: Any) -> None:
    start = tree("zzzzzz: {a: 1}\n")
    before = copy.deepcopy(start.data)
    changed = with_overrides(start, [f"{'.'.join(path)}={as_argument(value)}"])
    assert get(changed.data, path) == value
    assert changed.data["zzzzzz"] == {"a": 1}
    assert start.data == before


@given(paths, values, values)
def test_the_last_override_of_a_key_wins(path: tuple[str, ...], first: Any, last: Any) -> None:
    key = ".".join(path)
    changed = with_overrides(tree("zzzzzz: 1\n"), [f"{key}={as_argument(first)}", f"{key}={as_argument(last)}"])
    assert get(changed.data, path) == last


@given(st.permutations(["tuning.r=5", "training.epochs=1", "seeds=[7]", "name=other"]))
def test_overrides_of_different_keys_commute(overrides: list[str]) -> None:
    assert with_overrides(tree(), overrides).data == with_overrides(tree(), sorted(overrides)).data


def test_no_override_changes_nothing() -> None:
    assert with_overrides(tree(), []).data == tree().data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("true", True),
        ("null", None),
        ("", None),
        ("[1, 2]", [1, 2]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("'3'", "3"),
        ('"3"', "3"),
        ("a=b", "a=b"),
        ("a: b # c", "a: b # c"),
        ("!!python/object", "!!python/object"),
    ],
)
def test_the_value_of_an_override(text: str, value: Any) -> None:
    assert with_overrides(tree(), [f"key={text}"]).data["key"] == value


def test_an_override_wins_over_blocks_and_grids() -> None:
    assert set(points(RECIPE, "tuning.r=5")) == {"lora-lr0.001", "lora-lr0.0001", "full"}
    assert {data["tuning"]["r"] for data in points(RECIPE, "tuning.r=5").values()} == {5}
    assert points(RECIPE, "tuning.method=dora")["full"]["tuning"]["method"] == "dora"
    assert points(RECIPE, "tuning={method: full}")["lora-lr0.001"]["tuning"] == {"method": "full"}


def test_an_override_of_the_recipes_name_leaves_the_blocks_their_names() -> None:
    found = points(RECIPE, "name=other")
    assert list(found) == list(points())
    assert {data["name"] for data in found.values()} == {"other"}


def test_overrides_may_give_the_runs_themselves() -> None:
    found = points(RECIPE, "runs=[{name: a, tuning: {r: 1}}, {name: b}]")
    assert {name: data["tuning"]["r"] for name, data in found.items()} == {"a": 1, "b": 8}
    assert list(points(RECIPE, "runs=null")) == ["run"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epochs", ["-o epochs", "expected key=value", "-o training.epochs=1"]),
        ("=3", ["-o =3", "expected key=value"]),
        ("", ["expected key=value"]),
        ("training..epochs=3", ["expected key=value"]),
        (".epochs=3", ["expected key=value"]),
        ("seeds=[1, 2", ["-o seeds=[1, 2", "not YAML"]),
        ("seeds=[*a]", ["-o seeds=[*a]", "alias"]),
        ("seeds=" + "[" * 500, ["deeper than"]),
        ("name.x=1", ["'name.x' goes through a value that is not a section"]),
        ("runs.0.tuning=1", ["goes through"]),
    ],
)
def test_an_override_that_is_none_is_told(override: str, says: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides(tree(), [override])
    assert [part for part in says if part not in str(caught.value)] == []


def test_all_wrong_overrides_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        with_overrides(tree(), ["a", "b=1", "c=["])
    assert len(caught.value.problems) == 2


# --- grids


def test_a_grid_is_all_combinations_in_order_and_named_by_them() -> None:
    found = points()
    assert list(found) == ["lora-r2-lr0.001", "lora-r2-lr0.0001", "lora-r4-lr0.001", "lora-r4-lr0.0001", "full"]
    assert found["lora-r4-lr0.001"] == {
        "name": "toy",
        "tuning": {"method": "lora", "r": 4, "alpha": 4},
        "training": {"epochs": 3, "batch": {"size": 16}, "learning_rate": 0.001},
        "seeds": [1, 2],
    }
    assert found["full"]["tuning"] == {"method": "full", "r": 8}


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_a_grid_has_the_product_of_its_sizes(axes: list[list[int]]) -> None:
    grid = {f"tuning.k{i}": axis for i, axis in enumerate(axes)}
    found = points(json.dumps({"runs": [{"name": "a", "grid": grid}]}))
    expected = 1
    for axis in axes:
        expected *= len(axis)
    assert len(found) == expected
    assert len({json.dumps(data) for data in found.values()}) == expected


def test_points_share_no_data() -> None:
    found = points()
    found["full"]["training"]["batch"]["size"] = 99
    found["lora-r2-lr0.001"]["seeds"].append(3)
    assert found["lora-r2-lr0.0001"]["training"]["batch"]["size"] == 16
    assert found["lora-r2-lr0.0001"]["seeds"] == [1, 2]


def test_a_recipe_without_runs_is_one_group() -> None:
    assert points("name: toy\n") == {"run": {"name": "toy"}}


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ("5", ["r.yaml:2: runs", "expected a list of blocks"]),
        ("[]", ["r.yaml:2: runs", "expected a list of blocks"]),
        ("\n  a: 1", ["r.yaml:2: runs", "expected a list of blocks"]),
        ("\n  - 5", ["r.yaml:3: runs[0]", "expected a block with a name"]),
        ("\n  - tuning: {r: 1}", ["r.yaml:3: runs[0]", "expected a block with a name"]),
        ("\n  - name: 3", ["r.yaml:3: runs[0]", "expected a block with a name"]),
        ("\n  - name: ''", ["r.yaml:3: runs[0]", "expected a block with a name"]),
        ("\n  - name: a\n    trainning: {}", ["r.yaml:4: runs[0].trainning", "did you mean 'training'?"]),
        ("\n  - name: a\n    seeds: [3]", ["r.yaml:4: runs[0].seeds", "Allowed: name, grid, tuning, training"]),
        ("\n  - name: a\n  - name: b\n  - name: a", ["runs", "two groups are called 'a'"]),
        ("\n  - name: a\n    grid: {tuning.r: [2, 2]}", ["two groups are called 'a-r2'"]),
        ("\n  - name: a\n    grid: [1]", ["r.yaml:4: runs[0].grid", "expected a mapping of dotted keys"]),
        ("\n  - name: a\n    grid: {seeds: [1]}", ["r.yaml:4", "seeds", "expected a dotted key such as"]),
        ("\n  - name: a\n    grid: {tuning: [1]}", ["r.yaml:4", "expected a dotted key such as"]),
        ("\n  - name: a\n    grid:\n      tuning.r: 2", ["r.yaml:5", "tuning.r", "expected a list of values, found 2"]),
        ("\n  - name: a\n    grid: {tuning.r: []}", ["expected a list of values, found []"]),
    ],
)
def test_wrong_runs_are_told_with_their_line(runs: str, says: list[str]) -> None:
    told = "\n".join(problems(f"name: toy\nruns: {runs}\n"))
    assert [part for part in says if part not in told] == []


# --- validation


def test_a_right_tree_becomes_settings() -> None:
    for point in grid_points(tree(), SECTIONS):
        toy = validate(Toy, point.tree)
        assert toy.seeds == (1, 2)
        assert toy.training.batch == Batch(size=16)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: 3", ["r.yaml:2: epochs", "unknown key", "Allowed: name, tuning, training, seeds"]),
        ("tunning: {}", ["r.yaml:2: tunning", "did you mean 'tuning'?"]),
        ("training:\n  epoch: 3", ["r.yaml:3: training.epoch", "did you mean 'epochs'?"]),
        ("training:\n  batch:\n    siz: 3", ["r.yaml:4: training.batch.siz", "did you mean 'size'?", "Allowed: size"]),
        ("training: 5", ["r.yaml:2: training", "found 5"]),
        ("training: [a]", ["r.yaml:2: training", "found ['a']"]),
        ("training:\n  epochs: many", ["r.yaml:3: training.epochs", "valid number", "found 'many'"]),
        ("training:\n  epochs: .nan", ["r.yaml:3: training.epochs", "finite number"]),
        ("training:\n  epochs: -1", ["r.yaml:3: training.epochs", "greater than 0", "found -1"]),
        ("training:\n  every: never", ["r.yaml:3: training.every", "'epoch'", "found 'never'"]),
        ("tuning: {r: 2.5}", ["r.yaml:2: tuning.r", "found 2.5"]),
        ("tuning: {r: true}", ["r.yaml:2: tuning.r", "expected a number, found True"]),
        ("tuning: {alpha: true}", ["r.yaml:2: tuning.alpha", "expected a number, found True"]),
        ("tuning: {method: lorra}", ["r.yaml:2: tuning.method", "'lora' or 'full'", "found 'lorra'"]),
        ("seeds: 3", ["r.yaml:2: seeds", "found 3"]),
        ("seeds:\n  - 1\n  - x", ["r.yaml:4: seeds[1]", "found 'x'"]),
        ("tuning: {bias: 7}", ["r.yaml:2: tuning.bias", "found 7"]),
    ],
)
def test_a_wrong_key_is_told_with_line_path_and_what_was_found(text: str, says: list[str]) -> None:
    told = "\n".join(problems(f"name: toy\n{text}\n"))
    assert [part for part in says if part not in told] == []


def test_a_missing_key_is_named() -> None:
    assert problems("seeds: [1]\n") == ["r.yaml:1: name: this key is missing"]


def test_a_boolean_is_right_where_one_is_wanted() -> None:
    assert validate(Toy, tree("name: toy\ntuning: {bias: true}\n")).tuning.bias is True


def test_everything_wrong_is_told_at_once() -> None:
    assert len(problems("name: 3\nfoo: 1\ntuning: {r: 0, s: 1}\ntraining: {epochs: x}\n")) == 5


def test_a_wrong_value_in_a_block_has_the_blocks_line() -> None:
    text = "name: toy\ntuning: {r: 1}\nruns:\n  - name: a\n    tuning:\n      r: 0\n"
    assert problems(text)[0].startswith("r.yaml:6: tuning.r: ")


def test_a_wrong_value_in_a_grid_has_the_grids_line() -> None:
    text = "name: toy\nruns:\n  - name: a\n    grid:\n      tuning.r: [1]\n      training.epochs: [0]\n"
    assert problems(text)[0].startswith("r.yaml:6: training.epochs: ")


@pytest.mark.parametrize("override", ["training.epochs=0", "training={epochs: 0}"])
def test_a_wrong_override_is_told_as_the_override(override: str) -> None:
    assert problems("name: toy\ntraining: {epochs: 3}\n", override)[0].startswith(f"-o {override}: training.epochs: ")


def test_a_wrong_override_wins_over_the_line_of_a_block() -> None:
    (first, *_) = problems(RECIPE, "tuning.r=0")
    assert first.startswith("-o tuning.r=0: tuning.r: ")
