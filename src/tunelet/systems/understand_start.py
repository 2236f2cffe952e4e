"""What comes before an `understand` run: a base that was meta-trained on other tasks. Not here: meta-training; torch.

A base that has seen a task under test, or its data under another task's name, is refused: what it answers would be no
answer to an unseen task. Tasks that a stage takes by default are left out without a word from the recipe.

Example:
    >>> StartSettings().given
    False
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator

from tunelet.base.errors import DamagedFileError, InputError, Problem, RecipeError
from tunelet.base.files import digest, read_json
from tunelet.base.settings import Field, Settings
from tunelet.data.understanding.task import UnderstandingTask
from tunelet.data.understanding.tasks import find_task
from tunelet.models.settings import ModelSettings
from tunelet.systems.understand_base_data import BaseData, read_tasks
from tunelet.systems.understand_base_recipe import BaseStageSettings
from tunelet.systems.understand_settings import UnderstandModelSettings


class StartSettings(Settings):
    """A meta-trained base: one that is there, or one to be made."""

    folder: str | None = Field(None, description="folder that a run of `understand-base` left")
    stage: BaseStageSettings | None = Field(
        None, description="how it is meta-trained, once for all runs; its base and heads are those of `model`"
    )
    train_heads: bool = Field(False, description="whether its heads train, too, when an adapter is tuned over it")
    own_seed: bool = Field(False, description="stage: a base for each seed of the recipe; false: one for all")

    @property
    def given(self) -> bool:
        """Whether there is one at all."""
        return self.folder is not None or self.stage is not None

    @model_validator(mode="after")
    def _one_of_two(self) -> StartSettings:
        if self.folder is not None and self.stage is not None:
            raise ValueError("base.folder and base.stage: expected one of them")
        return self


@dataclass(frozen=True)
class Start:
    """What is known of a start before any work.

    Attributes:
        settings: the section.
        stage: how it is meta-trained, with the tasks under test excluded; None: it is there.
        data: what it is meta-trained on.
    """

    settings: StartSettings
    stage: BaseStageSettings | None
    data: BaseData | None

    def stage_of(self, seed: int) -> BaseStageSettings:
        """How the base of a run with this seed is meta-trained."""
        if self.stage is None:
            raise ValueError("this base is there already")
        return self.stage.model_copy(update={"seed": seed}) if self.settings.own_seed else self.stage

    def key(self, seed: int) -> str:
        """By what the base of a run with this seed is known before it is made."""
        if self.data is None:
            return digest(["folder", _sealed(Path(str(self.settings.folder)).expanduser())])
        return digest(["stage", self.stage_of(seed).model_dump(mode="json"), self.data.sha256])


def start_key(settings: StartSettings, model: UnderstandModelSettings) -> str:
    """By what the start of a run is known in a recipe: the section, and what it takes from `model`."""
    return digest(
        [settings.model_dump(mode="json"), model.base, model.revision, model.attention, model.matching, model.blocks]
    )


def read_start(
    settings: StartSettings,
    model: UnderstandModelSettings,
    tested: Sequence[tuple[str, UnderstandingTask]],
    data_dir: Path | None,
) -> Start:
    """Read what a base is meta-trained on, and refuse what is under test.

    Args:
        tested: every task that is tuned on or asked, with what the recipe calls it.

    Raises:
        RecipeError: a task under test is among those that it is meta-trained on.
        DataError: everything that is wrong in the tasks.
    """
    if settings.stage is None:
        _refuse_seen(Path(str(settings.folder)).expanduser(), tested)
        return Start(settings, None, None)
    named = settings.stage.data
    chosen = [*(named.tasks if "tasks" in named.model_fields_set else ()), *named.held_out]
    _refuse(
        [(name, find_task(name, "base.stage.data.tasks")) for name in chosen], tested, None, "base.stage.data.tasks"
    )
    exclude = tuple(dict.fromkeys((*named.exclude, *(name for name, _ in tested))))
    own = ModelSettings(
        base=model.base,
        revision=model.revision,
        attention=model.attention,
        max_length=settings.stage.model.max_length,
    )
    stage = settings.stage.model_copy(
        update={
            "data": named.model_copy(update={"exclude": exclude}),
            "model": own,
            "prefix": settings.stage.prefix.model_copy(update={"matching": model.matching, "blocks": model.blocks}),
        }
    )
    return Start(settings, stage, read_tasks(stage.data, data_dir))


def _refuse(
    chosen: Sequence[tuple[str, UnderstandingTask]],
    tested: Sequence[tuple[str, UnderstandingTask]],
    file: Path | None,
    field: str,
) -> None:
    problems = []
    for name, task in chosen:
        for _, under in tested:
            same = task.name == under.name
            if same or task.data.path == under.data.path:
                why = "" if same else f", whose data ({under.data.path}) it shares"
                message = f"meta-trained on {name!r}, and {under.name!r} is tuned on or asked{why}"
                problems.append(Problem(message, file, None, field, "take it out: an unseen task has to be unseen"))
                break
    if problems:
        raise RecipeError(problems)


def _refuse_seen(folder: Path, tested: Sequence[tuple[str, UnderstandingTask]]) -> None:
    """Refuse a folder that says it was meta-trained on a task under test."""
    seen = tasks_seen(folder)
    known = []
    for name in seen:
        try:
            known.append((name, find_task(name)))
        except InputError:
            continue  # a task file that is gone; its name still counts
    own = {under.name for _, under in tested}
    lost = [name for name in seen if name in own and name not in {task.name for _, task in known}]
    if lost:
        raise RecipeError(
            Problem(f"meta-trained on {lost[0]!r}, which is tuned on or asked", folder, None, "base.folder")
        )
    _refuse(known, tested, folder, "base.folder")


def tasks_seen(folder: Path) -> tuple[str, ...]:
    """Names of the tasks that a folder of `understand-base` was meta-trained on.

    Raises:
        RecipeError: the folder is none, or does not say.
    """
    hint = "give the adapter/ folder of a run of `understand-base`"
    about = folder / "tunelet.json"
    if not about.is_file():
        raise RecipeError(
            Problem("no meta-trained base here: tunelet.json is missing", folder, None, "base.folder", hint)
        )
    try:
        found: Any = (read_json(about).get("scores") or {}).get("tasks")
    except (DamagedFileError, AttributeError) as error:
        raise RecipeError(Problem(f"cannot be read: {error}", about, None, "base.folder", hint)) from None
    if not isinstance(found, list):
        message = "does not say which tasks it was meta-trained on, so nobody knows what it has not seen"
        raise RecipeError(Problem(message, about, None, "base.folder", hint))
    return tuple(map(str, found))


def _sealed(folder: Path) -> Any:
    return read_json(folder / "tunelet.json").get("seal")
