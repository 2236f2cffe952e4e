"""Recipes of `understand`: what is wrong in them is told by name before any work, and blocks become runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from toy_understand import RECIPE, TASKS, toy_told_tasks
from tunelet.base.errors import DataError, InputError, RecipeError
from tunelet.systems import load_recipe
from tunelet.systems.understand_data import read_tasks
from tunelet.systems.understand_recipe import load_data
from tunelet.systems.understand_settings import EvaluationSettings, UnderstandDataSettings
from tunelet.systems.understand_ways import ways_of


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with its tasks; nothing here needs its base."""
    folder = tmp_path_factory.mktemp("understand-recipe")
    path = folder / "toy.yaml"
    path.write_text(RECIPE.format(base="embedded:minilm", tasks=toy_told_tasks(folder / "tasks")), encoding="utf-8")
    return path


def tasks_of(recipe: Path, *names: str) -> str:
    return "[" + ", ".join(str(recipe.parent / "tasks" / f"{name}.yaml") for name in names) + "]"


def test_blocks_that_tune_are_run_for_every_source_and_controls_once(recipe: Path) -> None:
    loaded = load_recipe(recipe, [f"data.sources={tasks_of(recipe, 'moods', 'skies')}"])
    names = [run.name for run in loaded.runs]
    assert names[:6] == [
        "none-seed1",
        "none-seed2",
        *(f"regular-{s}-seed{n}" for s in ("moods", "skies") for n in (1, 2)),
    ]
    assert names[-2:] == ["knn-seed1", "definition-seed1"] and len(names) == 2 + 4 * 4 + 2


WRONG = [
    (["data.tasks=[moods]"], DataError, "no task 'moods'|unknown task 'moods'"),
    (["data.k=[0, 0]"], RecipeError, "one stands there twice"),
    (["data.k=[21]"], RecipeError, "data.k"),
    (["data.sources=[]"], RecipeError, "data.sources names no task"),
    (["data.query=[speech]"], RecipeError, "does not hear: give model.ears, or data.cascade"),
    (["data.cascade=true"], RecipeError, "take speech into data.query"),
    (["approach.query=speech"], RecipeError, "approach.query speech"),
    (["approach.pool=3"], RecipeError, "approach.pool is for approach.regime random"),
    (["approach.regime=rnadom"], RecipeError, "approach.regime"),
    (["evaluation.answers=[constrained, free-strict]"], RecipeError, "writes nothing"),
    (["evaluation.lora_scale=[-1]"], RecipeError, "at least 0"),
    (["tuning.method=full", "evaluation.lora_scale=[null, 0.5]"], RecipeError, "has no LoRA to scale"),
    (["model.kind=causal", "base.stage={}"], RecipeError, "base is for model.kind prefix"),
    (["model.kind=salmonn"], RecipeError, "model.folder goes with"),
    (["model.kind=processor", "model.base=embedded:minilm"], RecipeError, "wants an audio language model"),
    (["model.kind=processor", "model.base=x", "model.blocks=true"], RecipeError, "model.blocks is for"),
    (["model.kind=processor", "model.base=x", "model.folder=y"], RecipeError, "model.folder goes with"),
    (["model.kind=processor", "model.base=x", "model.ears=y"], RecipeError, "model.ears is for"),
    (["model.kind=processor", "model.base=x", "base.stage={}"], RecipeError, "base is for model.kind prefix"),
    (["model.kind=processor", "model.base=x", "tuning.method=full"], RecipeError, "take lora"),
    (["model.kind=processor", "model.base=x", "tuning.bias=all"], RecipeError, "tuning.bias all: model.kind processor"),
    (["model.kind=processor", "model.base=x", "tuning.engine=fast"], RecipeError, "tuning.engine fast: model.kind"),
    (["model.kind=processor", "model.base=x", "tuning.compile=true"], RecipeError, "tuning.compile: model.kind"),
    (["model.kind=causal", "tuning.engine=fast"], RecipeError, "tuning.engine fast: model.kind causal"),
    (["model.kind=salmonn", "model.folder=x", "tuning.compile=true"], RecipeError, "tuning.compile: model.kind"),
    (["model.chat=true"], RecipeError, "model.chat is for model.kind processor"),
    (["base.stage={}", "base.folder=x"], RecipeError, "expected one of them"),
    (["data.classes={nothing: [a]}"], RecipeError, "'nothing' is not among the tasks"),
    (["training.label_smoothing=0.1"], RecipeError, "label_smoothing"),
    (["data.itms=3"], RecipeError, "did you mean 'items'"),
]


@pytest.mark.parametrize(("overrides", "kind", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_told_before_any_work(
    recipe: Path, overrides: list[str], kind: type[InputError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        load_data(load_recipe(recipe, overrides), None)


def test_what_is_wrong_in_the_data_is_told_with_its_place(recipe: Path, tmp_path: Path) -> None:
    tasks = toy_told_tasks(tmp_path / "broken")
    rows = tasks / "data-places" / "test.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8").replace('"home"', '"hoem"', 1), encoding="utf-8")
    (tasks / "moods.yaml").write_text("name: moods\ninstruction: x\nlabels: {a: }\ndata: d\n", encoding="utf-8")
    named = [f"{tasks}/moods.yaml", f"{tasks}/places.yaml"]
    with pytest.raises(DataError) as caught:
        read_tasks(UnderstandDataSettings(tasks=tuple(named)), None)
    told = str(caught.value)
    assert "moods.yaml:3: labels.a: the definition is missing" in told
    assert "test.jsonl:" in told and "'hoem'" in told and "did you mean 'home'" in told


def test_a_pool_that_a_source_does_not_have_is_told(recipe: Path) -> None:
    overrides = [f"data.sources={tasks_of(recipe, 'places')}", "approach.regime=random", "approach.pool=3"]
    with pytest.raises(RecipeError, match="source 'places': 2 classes have 2 such permutations, found 3"):
        load_data(load_recipe(recipe, ["runs=[{name: one}]", *overrides]), None)


def test_a_base_that_saw_a_task_under_test_is_refused(recipe: Path, tmp_path: Path) -> None:
    for field in ("tasks", "held_out"):
        with pytest.raises(RecipeError, match=r"meta-trained on .*places.*, and 'places' is tuned on or asked"):
            load_data(load_recipe(recipe, [f"base.stage.data.{field}={tasks_of(recipe, 'skies', 'places')}"]), None)
    # the same data under another name
    other = (recipe.parent / "tasks" / "places.yaml").read_text(encoding="utf-8").replace("name: places", "name: rooms")
    (recipe.parent / "tasks" / "rooms.yaml").write_text(other, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"whose data .data-places. it shares"):
        load_data(load_recipe(recipe, [f"base.stage.data.tasks={tasks_of(recipe, 'rooms')}"]), None)
    with pytest.raises(RecipeError, match=r"base.folder: no meta-trained base here"):
        load_data(load_recipe(recipe, [f"base.folder={tmp_path}"]), None)
    for said, told in (
        ('{"scores": {"tasks": ["skies", "moods"]}}', "meta-trained on 'moods'"),
        ("{}", "does not say"),
    ):
        (tmp_path / "tunelet.json").write_text(said, encoding="utf-8")
        with pytest.raises(RecipeError, match=told):
            load_data(load_recipe(recipe, [f"base.folder={tmp_path}"]), None)


def test_examples_are_cut_by_their_part_and_no_split_is_made_of_test(recipe: Path) -> None:
    tasks = recipe.parent / "tasks"
    named = tuple(str(tasks / f"{name}.yaml") for name in ("moods", "skies"))
    settings = UnderstandDataSettings(
        sources=named, tasks=named[:1], items=6, train_limit=9, validation=2, pool_limit=12
    )
    data = read_tasks(settings, None)
    assert data.tasks["moods"].sizes == {"train": 9, "validation": 2, "test": 6, "pool": 12}
    for part in ("train", "test", "pool"):
        found = [one.labels for one in getattr(data.tasks["moods"], part)]
        assert all(found.count((name,)) == len(found) // 3 for name in TASKS["moods"])
    made = data.tasks["skies"]
    assert made.sizes["test"] == 0 and {one.split for one in (*made.train, *made.validation)} == {"train"}
    assert not {one.key for one in made.train} & {one.key for one in made.validation}


def test_every_way_varies_one_thing_alone() -> None:
    data = UnderstandDataSettings(tasks=("snips",), k=(0, 1, 2), query=("text", "speech"), cascade=True)
    evaluation = EvaluationSettings(
        demonstrations=("retrieved", "random"), orders=("nearest-last", "shuffled"), lora_scale=(None, 0.5)
    )
    ways = ways_of(data, evaluation, hears=True, tuned=True)
    assert len({way.name for way in ways}) == len(ways) == 3 * 3 + (0 + 0 + 1) + (1 + 0 + 1) + (1 + 1 + 1)
    mains = {(way.k, way.query, way.cascade): way for way in ways if way.main}
    assert len(mains) == 9
    for way in ways:
        first = mains[way.k, way.query, way.cascade]
        keys = ("demonstrations", "order", "answers", "lora_scale")
        assert sum(getattr(way, key) != getattr(first, key) for key in keys) == (0 if way.main else 1)
    assert {way.query for way in ways_of(data, evaluation, hears=False, tuned=True) if not way.cascade} == {"text"}
    assert all(way.main for way in ways_of(data, evaluation, hears=True, tuned=False, control=True))


def test_ways_of_answering_are_those_of_models_that_write() -> None:
    from tunelet.systems.understand_opened import asking_of  # torch; the rest of this file needs none
    from tunelet.systems.understand_ways import Way

    for answers, kind, calibrated in (
        ("constrained", "constrained", False),
        ("calibrated", "constrained", True),
        ("free-lenient", "free-lenient", False),
    ):
        asking = asking_of(Way(2, answers=answers, lora_scale=0.5))  # type: ignore[arg-type]
        assert (asking.answers, asking.calibrated, asking.lora_scale) == (kind, calibrated, 0.5)
