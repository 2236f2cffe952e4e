"""Schema of an `understand` recipe and the reading of its data. Not here: running it (`systems.understand`); torch.

A block of `runs` is an approach. One that tunes is run for every source and seed; one that does not, for every seed;
controls, which hold no chance, once.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("understand-quick").runs[0].group
    'none'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.errors import InputError, Problem, RecipeError
from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.data.understanding.regimes import LabelNames
from tunelet.systems import points
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.systems.understand_data import UnderstandData, read_tasks
from tunelet.systems.understand_ears import ears_key
from tunelet.systems.understand_settings import (
    CONTROLS,
    ApproachSettings,
    EvaluationSettings,
    UnderstandDataSettings,
    UnderstandModelSettings,
)
from tunelet.systems.understand_start import StartSettings, read_start, start_key
from tunelet.training.settings import TrainingSettings
from tunelet.training.tracking import require_trackers
from tunelet.tuning.settings import TuningSettings

#: sections that a block of `runs` may change
SECTIONS = ("model", "base", "approach", "tuning", "training", "evaluation")


class UnderstandTraining(TrainingSettings):
    """How a model is tuned on a source."""

    select: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = Field(
        "macro_f1",
        description="metric on the source's validation examples, under true names, that chooses the checkpoint",
    )


class CellSettings(Settings):
    """Which runs of the table a run is."""

    label: str = Field(description="name of the block")
    source: str = Field(description="the task that is tuned on, or none")


class UnderstandPoint(Settings):
    """A recipe without its grid: what one block is."""

    system: Literal["understand"] = Field(description="which system runs the recipe")
    name: Name = Field(description="name of the recipe; letters, digits, '-', '_', '.'")
    title: str = Field("", description="one line for the report")
    data: UnderstandDataSettings = Field(description="which tasks, and what queries are")
    model: UnderstandModelSettings = Field(default_factory=UnderstandModelSettings, description="which model")
    base: StartSettings = Field(default_factory=StartSettings, description="what comes before: meta-training")
    approach: ApproachSettings = Field(default_factory=ApproachSettings, description="what is done")
    tuning: TuningSettings = Field(default_factory=TuningSettings, description="what of the model is tuned")
    training: UnderstandTraining = Field(default_factory=UnderstandTraining, description="how it is tuned")
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings, description="how it is asked")
    seeds: Seeds = Field((1,), min_length=1, description="each block is run once with each seed")

    @model_validator(mode="after")
    def _fits_together(self) -> UnderstandPoint:
        model, approach, evaluation = self.model, self.approach, self.evaluation
        if approach.tunes and not self.data.sources:
            raise ValueError(f"approach.regime {approach.regime} tunes, and data.sources names no task")
        if "speech" in self.data.query and not model.hears and not self.data.cascade:
            raise ValueError(
                f"data.query has speech, which model.kind {model.kind} does not hear: give model.ears, or data.cascade"
            )
        if approach.query == "speech" and approach.tunes and not model.hears:
            raise ValueError(f"approach.query speech: model.kind {model.kind} does not hear")
        if approach.query == "speech" and "speech" not in self.data.query:
            raise ValueError("approach.query speech, and data.query is text alone")
        free = [kind for kind in evaluation.answers if kind != "constrained"]
        if free and model.kind == "prefix" and approach.regime not in CONTROLS:
            raise ValueError(f"evaluation.answers {free[0]}: model.kind prefix points at classes and writes nothing")
        if self.base.given and model.kind != "prefix":
            raise ValueError(f"base is for model.kind prefix, found {model.kind}")
        if model.kind == "salmonn" and self.tuning.method not in ("lora", "full") and approach.tunes:
            raise ValueError(f"tuning.method {self.tuning.method}: model.kind salmonn has its own LoRA (method lora)")
        if model.kind != "prefix" and approach.tunes:
            _refuse_tuning(model.kind, self.tuning)
        if self.tuning.method in ("full", "vera") and any(scale is not None for scale in evaluation.lora_scale):
            raise ValueError(f"evaluation.lora_scale: tuning.method {self.tuning.method} has no LoRA to scale")
        if self.training.label_smoothing:
            raise ValueError("training.label_smoothing: not for this system; take it out")
        return self


def _refuse_tuning(kind: str, tuning: TuningSettings) -> None:
    """What models of other kinds than prefix, which PEFT's or their own modules compute, cannot do."""
    why = {
        "engine fast": (tuning.engine == "fast", "the fast path cannot compute it; take peft"),
        "compile": (tuning.compile, "not for this kind; take it out"),
    }
    if kind == "processor":  # adapters go into its language model alone
        why |= {
            "method full": (tuning.method == "full", "would train the encoder of sound, too; take lora"),
            "bias all": (tuning.bias == "all", "would train biases of the encoder of sound, too; take adapted"),
        }
    for setting, (found, told) in why.items():
        if found:
            raise ValueError(f"tuning.{setting}: model.kind {kind}: {told}")


class UnderstandBlock(Settings):
    """A block of `runs`: the name of an approach, and changes to sections."""

    name: str = Field(description="name of the approach; a grid adds its values to it")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of `model` that differ")
    base: dict[str, Any] = Field(default_factory=dict, description="keys of `base` that differ")
    approach: dict[str, Any] = Field(default_factory=dict, description="keys of `approach` that differ")
    tuning: dict[str, Any] = Field(default_factory=dict, description="keys of `tuning` that differ")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of `training` that differ")
    evaluation: dict[str, Any] = Field(default_factory=dict, description="keys of `evaluation` that differ")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="dotted key -> values; all combinations are run"
    )


class UnderstandRecipe(UnderstandPoint):
    """A whole recipe, for the JSON Schema."""

    runs: list[UnderstandBlock] | None = Field(None, description="approaches; without it the recipe is one")


def expand(tree: Tree) -> LoadedRecipe:
    """Validate a recipe's tree and span its blocks over sources and seeds.

    Raises:
        RecipeError: all problems at once.
    """
    found = points.expand(tree, "understand", UnderstandPoint, SECTIONS, lambda point: str(point.approach.regime))
    if not isinstance(found.data, UnderstandDataSettings):
        raise TypeError(f"expected UnderstandDataSettings, found {type(found.data).__name__}")
    runs: list[PlannedRun] = []
    first = found.runs[0].seed
    for group in found.groups:
        members = [run for run in found.runs if run.group == group]
        approach = members[0].settings["approach"]
        if not isinstance(approach, ApproachSettings):
            raise TypeError(f"expected ApproachSettings, found {type(approach).__name__}")
        if approach.regime in CONTROLS:  # no chance in them: one seed says all
            members = [run for run in members if run.seed == first]
        for source in found.data.sources if approach.tunes else ("none",):
            short = Path(source).stem if "/" in source or source.endswith((".yaml", ".yml")) else source
            name = f"{group}-{short}" if approach.tunes else group
            cell = CellSettings(label=group, source=source)
            runs += [replace(run, group=name, settings={**run.settings, "cell": cell}) for run in members]
    names = [run.name for run in runs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        message = f"two runs are called {name!r}: two sources, or a block and a block with a source, have like names"
        raise RecipeError(tree.problem(message, ("runs",)))
    return replace(found, runs=tuple(runs))


def load_data(recipe: LoadedRecipe, data_dir: Path | None) -> UnderstandData:
    """Read the tasks of a recipe and check what can be checked before any work.

    Raises:
        DataError: everything that is wrong in tasks and data, at once.
        RecipeError: a base is meta-trained on a task that is tuned on or asked; a pool of permutations that a source
            has not.
        MissingExtraError: a tracker that the recipe asks for is not installed.
    """
    require_trackers([name for run in recipe.runs for name in sections(run).training.trackers])
    if not isinstance(recipe.data, UnderstandDataSettings):
        raise TypeError(f"expected UnderstandDataSettings, found {type(recipe.data).__name__}")
    data = read_tasks(recipe.data, data_dir)
    problems = []
    for run in recipe.runs:
        chosen = sections(run)
        if chosen.approach.regime == "random":
            task = data.tasks[data.names[chosen.cell.source]].task
            try:
                LabelNames("random", task.label_names, pool=chosen.approach.pool)
            except InputError as error:
                problems += [
                    Problem(f"source {task.name!r}: {one.message}", None, None, "approach.pool", one.hint)
                    for one in error.problems
                ]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    tested = [(named, data.tasks[data.names[named]].task) for named in recipe.data.named]
    starts = {}
    for chosen in map(sections, recipe.runs):
        key = start_key(chosen.base, chosen.model)
        if chosen.base.given and chosen.approach.regime not in CONTROLS and key not in starts:
            starts[key] = read_start(chosen.base, chosen.model, tested, data_dir)
    every = {str(chosen.model.ears) for chosen in map(sections, recipe.runs) if chosen.model.ears is not None}
    return replace(data, starts=starts, ears={ears: ears_key(ears, data_dir) for ears in sorted(every)})


@dataclass(frozen=True)
class Sections:
    """The sections of a planned run, with their types."""

    model: UnderstandModelSettings
    base: StartSettings
    approach: ApproachSettings
    tuning: TuningSettings
    training: UnderstandTraining
    evaluation: EvaluationSettings
    cell: CellSettings


def sections(run: PlannedRun) -> Sections:
    """The sections of a planned run."""
    return Sections(**{key: run.settings[key] for key in (*SECTIONS, "cell")})  # type: ignore[arg-type]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors: completion and errors while typing."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **UnderstandRecipe.model_json_schema()}
