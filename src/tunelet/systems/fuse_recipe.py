"""Schema of a `fuse` recipe and the reading of its data. Not here: running it (`systems.fuse`); torch.

A recipe's blocks are methods; each is run for every target, training size and seed, as a run of its own.

Example:
    >>> from tunelet.systems import load_recipe
    >>> load_recipe("fuse-quick").runs[0].settings["cell"].target
    'emotion'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from tunelet.base.files import digest
from tunelet.base.settings import Field, Settings
from tunelet.base.yaml_lines import Tree
from tunelet.data.multitask import MultitaskSettings, load_tasks, with_training
from tunelet.data.records import Dataset
from tunelet.models.settings import ModelSettings
from tunelet.systems import points
from tunelet.systems.fuse_folders import adapters_in
from tunelet.systems.points import Name, Seeds
from tunelet.systems.recipes import LoadedRecipe, PlannedRun
from tunelet.training.settings import TrainingSettings
from tunelet.training.tracking import require_trackers
from tunelet.tuning.fusion.settings import FusionSettings
from tunelet.tuning.settings import TuningSettings

#: sections that a block of `runs` may change
SECTIONS = ("model", "approach", "experts", "tuning", "fusion", "training")


class ExpertTraining(TrainingSettings):
    """How an expert is trained; in the same type on every machine, so that all runs share it."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="type of the products")
    frozen: Literal["fp32", "bf16"] = Field("fp32", description="type in which weights that do not train are held")


class ExpertSettings(Settings):
    """The task adapters: one for each task, with a head of its own."""

    folder: str | None = Field(
        None, description="folder of adapters, ours or PEFT's, in place of trained ones; the target's own is trained"
    )
    tuning: TuningSettings = Field(default_factory=TuningSettings, description="what of them is trained")
    training: ExpertTraining = Field(default_factory=ExpertTraining, description="how they are trained")
    limit: int | None = Field(None, ge=2, description="training examples of a task that is not the target; null: all")
    least_steps: int | None = Field(
        None, ge=1, description="steps of what trains on the target alone, by more epochs where its examples are few"
    )
    seed: int | None = Field(1, description="of the experts of other tasks, which runs then share; null: the run's own")


def with_steps(training: TrainingSettings, least: int | None, examples: int) -> TrainingSettings:
    """`training` with as many epochs over so many examples as give `least` steps."""
    each = training.batch.size * training.batch.accumulate
    epochs = 0.0 if least is None else least * each / examples
    return training.model_copy(update={"epochs": epochs}) if epochs > training.epochs else training


class ApproachSettings(Settings):
    """What a run does with the tasks."""

    method: Literal["single", "full", "shared", "merge", "fusion", "joint"] = Field(
        "fusion",
        description="single: the target's own adapter; full: full fine-tuning on the target; shared: one adapter for "
        "all tasks, a head each; merge: the mean of all adapters, and a new head; fusion: over frozen adapters; joint: "
        "adapters and fusion of all tasks at once",
    )
    own_expert: bool = Field(True, description="whether the target's own adapter is fused, too; false: K - 1 experts")
    other_experts: bool = Field(
        True,
        description="whether adapters of other tasks are fused; false: the control that tells what a new head on the "
        "target's own adapter gives",
    )
    sampling: Literal["proportional", "uniform", "temperature"] = Field(
        "proportional", description="shared, joint: how often a task is drawn: by its examples, as often, or between"
    )
    sampling_temperature: float = Field(2.0, ge=1, description="temperature: shares are n^(1/T)")

    @property
    def exponent(self) -> float:
        """Of a task's number of examples, in its share of the draws."""
        return {"proportional": 1.0, "uniform": 0.0}.get(self.sampling, 1 / self.sampling_temperature)


class CellSettings(Settings):
    """Which cell of the table a run fills."""

    label: str = Field(description="name of the block")
    target: str = Field(description="the task that is scored")
    size: int | None = Field(description="training examples of the target; null: all")


class FusePoint(Settings):
    """A recipe without its grid: what one method is."""

    system: Literal["fuse"] = Field(description="which system runs the recipe")
    name: Name = Field(description="name of the recipe; letters, digits, '-', '_', '.'")
    title: str = Field("", description="one line for the report")
    data: MultitaskSettings = Field(description="which tasks")
    model: ModelSettings = Field(default_factory=ModelSettings, description="which base")
    approach: ApproachSettings = Field(default_factory=ApproachSettings, description="what is done with the tasks")
    experts: ExpertSettings = Field(default_factory=ExpertSettings, description="the task adapters")
    tuning: TuningSettings = Field(default_factory=TuningSettings, description="full, shared, joint: what is trained")
    fusion: FusionSettings = Field(default_factory=FusionSettings, description="fusion, joint: how it is fused")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="how it is trained, experts aside")
    seeds: Seeds = Field((1,), min_length=1, description="each method is run once with each seed")

    @model_validator(mode="after")
    def _something_to_fuse(self) -> FusePoint:
        method, found = self.approach.method, self.tuning.method
        others = len(self.data.tasks) - 1
        if others < 1 and self.experts.folder is None and method not in ("single", "full"):
            raise ValueError("one task alone: name another in data.tasks, or a folder of adapters in experts.folder")
        if (method == "full") != (found == "full") and method in ("full", "shared", "joint"):
            raise ValueError(f"approach.method {method} with tuning.method {found}: full goes with full alone")
        if method == "joint" and (self.fusion.level != "output" or found != "lora"):
            raise ValueError("approach.method joint is for fusion.level output and tuning.method lora")
        if (
            self.fusion.needs_own
            and method in ("fusion", "joint")
            and (method == "joint" or not self.approach.own_expert)
        ):
            raise ValueError(
                "fusion.residual own and fusion.head expert need the target's own adapter: approach.method fusion with "
                "own_expert true"
            )
        if not (self.approach.own_expert or self.approach.other_experts):
            raise ValueError("approach.own_expert and other_experts are both false: no expert is left")
        if method == "joint" and self.fusion.evenness:
            raise ValueError("fusion.evenness is for approach.method fusion; take it out")
        if method in ("shared", "joint") and self.training.label_smoothing:
            raise ValueError(f"approach.method {method} knows no label_smoothing; take it out")
        if self.experts.tuning.method not in ("lora", "rslora", "lora+", "lora-fa"):
            raise ValueError(
                f"experts.tuning.method {self.experts.tuning.method}: only plain LoRA adapters can be fused"
            )
        return self


class FuseBlock(Settings):
    """A block of `runs`: the name of a method, and changes to sections."""

    name: str = Field(description="name of the method; a grid adds its values to it")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of `model` that differ")
    approach: dict[str, Any] = Field(default_factory=dict, description="keys of `approach` that differ")
    experts: dict[str, Any] = Field(default_factory=dict, description="keys of `experts` that differ")
    tuning: dict[str, Any] = Field(default_factory=dict, description="keys of `tuning` that differ")
    fusion: dict[str, Any] = Field(default_factory=dict, description="keys of `fusion` that differ")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of `training` that differ")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="dotted key -> values; all combinations are run"
    )


class FuseRecipe(FusePoint):
    """A whole recipe, for the JSON Schema."""

    runs: list[FuseBlock] | None = Field(None, description="methods; without it the recipe is one")


@dataclass(frozen=True)
class FuseData:
    """The tasks of a recipe, by name, and what is scored."""

    tasks: dict[str, Dataset]
    settings: MultitaskSettings

    def of(self, task: str, size: int | None, seed: int) -> Dataset:
        """A task with at most `size` training examples, drawn for `seed`."""
        return with_training(self.tasks[task], size, f"seed{seed}")

    @property
    def sha256(self) -> str:
        """Hash of all examples of all tasks."""
        return digest({name: data.sha256 for name, data in self.tasks.items()})


def expand(tree: Tree) -> LoadedRecipe:
    """Validate a recipe's tree and span its methods over targets, sizes and seeds.

    Raises:
        RecipeError: all problems at once.
    """
    found = points.expand(tree, "fuse", FusePoint, SECTIONS, lambda point: str(point.approach.method))
    data = found.data
    if not isinstance(data, MultitaskSettings):
        raise TypeError(f"expected MultitaskSettings, found {type(data).__name__}")
    runs = []
    for target in data.scored:
        for size in data.sizes:
            for run in found.runs:
                cell = CellSettings(label=run.group, target=target, size=None if size == "all" else size)
                group = f"{run.group}-{target}-{size}"
                runs.append(replace(run, group=group, settings={**run.settings, "cell": cell}))
    return replace(found, runs=tuple(runs))


def load_data(recipe: LoadedRecipe, data_dir: Path | None) -> FuseData:
    """Read the tasks of a recipe.

    Raises:
        DataError: everything that is wrong in them, at once.
        RecipeError: a folder of adapters is not there, or has none.
        MissingExtraError: a tracker that the recipe asks for is not installed.
    """
    require_trackers([name for run in recipe.runs for name in sections(run).training.trackers])
    if not isinstance(recipe.data, MultitaskSettings):
        raise TypeError(f"expected MultitaskSettings, found {type(recipe.data).__name__}")
    for place in {sections(run).experts.folder for run in recipe.runs}:
        if place is not None:
            adapters_in(place)
    return FuseData(load_tasks(recipe.data, data_dir), recipe.data)


@dataclass(frozen=True)
class Sections:
    """The sections of a planned run, with their types."""

    model: ModelSettings
    approach: ApproachSettings
    experts: ExpertSettings
    tuning: TuningSettings
    fusion: FusionSettings
    training: TrainingSettings
    cell: CellSettings


def sections(run: PlannedRun) -> Sections:
    """The sections of a planned run."""
    return Sections(**{key: run.settings[key] for key in (*SECTIONS, "cell")})  # type: ignore[arg-type]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors: completion and errors while typing."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **FuseRecipe.model_json_schema()}
