"""Finding recipes, and what makes two runs the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelet.base.errors import InputError, RecipeError
from tunelet.base.files import digest
from tunelet.systems import load_recipe
from tunelet.systems.recipes import PlannedRun, read_recipe, shipped_recipes

MINE = """\
system: classify
name: mine
seeds: [1, 2]
runs:
  - {name: lora-a}
  - {name: lora-b, tuning: {r: 4}}
  - {name: full, tuning: {method: full}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(MINE)
    return tmp_path / "mine.yaml"


def planned(*overrides: str, seed: int = 1) -> PlannedRun:
    """A run of a recipe that is all defaults."""
    return load_recipe("emotion-quick", [*overrides, f"seeds=[{seed}]"]).runs[0]


def test_shipped_recipes_are_found_by_name_and_files_by_path(mine: Path) -> None:
    assert read_recipe("emotion").data["name"] == "emotion"
    assert read_recipe(str(mine)).data["name"] == "mine"
    assert list(shipped_recipes()) == sorted(shipped_recipes())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("emotoin", "did you mean 'emotion'?"),
        ("zzz", "shipped recipes: "),
        ("none.yaml", "none.yaml: there is no such file"),
        ("folder.yaml", "found a folder"),
        ("latin.yaml", "latin.yaml:2: not UTF-8: the byte 0xE9"),
        ("list.yaml", "list.yaml:1: expected a mapping"),
        ("other.yaml", "other.yaml:1: system: unknown system 'classfy'; did you mean 'classify'?"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.yaml").mkdir()
    Path("latin.yaml").write_bytes(b"name: a\ntitle: caf\xe9\n")
    Path("list.yaml").write_text("- a\n")
    Path("other.yaml").write_text("system: classfy\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert says in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_recipe(mine: Path) -> None:
    plain = load_recipe(mine).runs
    mine.write_text("\ufeff" + MINE, encoding="utf-8")
    assert load_recipe(mine).runs == plain


def test_groups_are_in_order_and_chosen_as_in_a_shell(mine: Path) -> None:
    recipe = load_recipe(mine)
    assert recipe.groups == ["lora-a", "lora-b", "full"]
    assert [run.name for run in recipe.select("lora-?")] == [
        "lora-a-seed1",
        "lora-a-seed2",
        "lora-b-seed1",
        "lora-b-seed2",
    ]
    assert [run.group for run in recipe.select("full")] == ["full", "full"]
    assert len(recipe.select("*")) == 6
    assert [run.name for run in recipe.select("*-seed2")] == ["lora-a-seed2", "lora-b-seed2", "full-seed2"]
    with pytest.raises(InputError, match=r"no run matches --only 'full-seed3'.*runs: lora-a-seed1, lora-a-seed2"):
        recipe.select("full-seed3")


def test_many_names_are_not_all_listed() -> None:
    with pytest.raises(InputError, match=r"runs: .*, \.\.\. \(\d{3,} in all\)"):
        load_recipe("fuse").select("nothing-seed1")


@pytest.mark.parametrize("pattern", ["lora", "FULL", ""])
def test_a_pattern_without_a_match_lists_the_groups(mine: Path, pattern: str) -> None:
    with pytest.raises(InputError, match="groups: lora-a, lora-b, full"):
        load_recipe(mine).select(pattern)


def test_equal_runs_have_equal_hashes() -> None:
    assert planned().hash(data="d", base="b") == planned().hash(base="b", data="d")


@pytest.mark.parametrize("override", ["training.trackers=[tensorboard]", "training.keep_states=true", "title=x"])
def test_what_changes_no_result_changes_no_hash(override: str) -> None:
    assert planned(override).hash(data="d") == planned().hash(data="d")


@pytest.mark.parametrize(
    "override", ["training.learning_rate=3e-4", "tuning.r=9", "model.max_length=63", "training.threads=1"]
)
def test_what_may_change_a_result_changes_the_hash(override: str) -> None:
    assert planned(override).hash(data="d") != planned().hash(data="d")


def test_a_later_key_changes_hashes_where_it_is_set_alone() -> None:
    run = planned()
    sections = {key: section.model_dump(mode="json") for key, section in run.settings.items()}
    for key in ("trackers", "keep_states", "head_learning_rate"):
        del sections["training"][key]
    before = digest({"settings": sections, "seed": 1, "facts": {"data": "d"}})
    assert run.hash(data="d") == before != planned("training.head_learning_rate=1e-3").hash(data="d")


def test_data_base_and_seed_change_the_hash() -> None:
    hashes = [planned(seed=seed).hash(data=data, base=base) for seed in (1, 2) for data in "xy" for base in "xy"]
    assert len(set(hashes)) == 8
