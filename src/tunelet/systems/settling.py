"""Settles what a recipe leaves to the machine: ``training.precision: auto`` and ``training.frozen: auto``.

It is done once, when data and recipe are known to be right, for all systems; from then on a run says what it computes
in. The type is part of a run's hash, so a run that ended in another type is not mistaken for this one; the recipe's own
hash stays the same on every machine. Not here: how a machine chooses (`models.rates`).

Example:
    >>> settled(load_recipe("emotion")).runs[0].settings["training"].precision      # doctest: +SKIP
    'bf16'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunelet.base.errors import ResumeError
from tunelet.models import rates
from tunelet.systems.recipes import LoadedRecipe, PlannedRun

AUTO = "auto"
#: keys of the section `training` that a machine may choose
KEYS = ("precision", "frozen")


def settled(recipe: LoadedRecipe) -> LoadedRecipe:
    """The recipe with every run's types chosen. A type that the recipe names stays; `frozen` follows `precision`."""
    return replace(recipe, runs=tuple(_settled(run) for run in recipe.runs))


def as_asked(run: PlannedRun) -> PlannedRun:
    """The run as the recipe has it: what was chosen is "auto" again."""
    return _changed(run, dict.fromkeys(run.chosen, AUTO)) if run.chosen else run


def elsewhere(run: PlannedRun) -> PlannedRun | None:
    """The run as a machine settles it that chooses the other type; None if the machine has no say."""
    if "precision" not in run.chosen:
        return None
    other = "fp32" if _value(run, "precision") == "bf16" else "bf16"
    return _changed(run, dict.fromkeys(run.chosen, other))


def how_to_say(run: PlannedRun) -> str:
    """Options of the command line that give `run` the types that it has, on any machine."""
    return " ".join(f"-o training.{key}={_value(run, key)}" for key in run.chosen)


def refuse_other_type(run: PlannedRun, folder_of: Callable[[PlannedRun], Path], sweep: Path) -> None:
    """Refuse to begin `run` anew, in the type that this machine chooses, if it was begun in the one that another chose.

    Args:
        run: a settled run that is not done.
        folder_of: the folder of a settled run.
        sweep: the folder of the sweep, for the message.

    Raises:
        ResumeError: there is a saved state in the other type, and nothing in this one.
    """
    other = None if folder_of(run).exists() else elsewhere(run)
    if other is None:
        return
    begun = folder_of(other)
    if (begun / "run.json").is_file() or not any((begun / "state").glob("step-*")):
        return
    theirs, ours = _value(other, "precision"), _value(run, "precision")
    raise ResumeError(
        f"{begun / 'state'}: the saved state was trained in {theirs}, which training.precision: auto chose on the "
        f"machine that it was begun on; here auto chooses {ours}. Hint: go on in {theirs} with "
        f"{how_to_say(other)} --out {sweep}, or begin anew in {ours} with {how_to_say(run)} --out {sweep}"
    )


def _settled(run: PlannedRun) -> PlannedRun:
    asked = tuple(key for key in KEYS if _value(run, key) == AUTO)
    if not asked:
        return run
    precision = _value(run, "precision")
    if precision == AUTO:
        precision = rates.faster_precision()
    return replace(_changed(run, dict.fromkeys(asked, precision)), chosen=asked)


def _value(run: PlannedRun, key: str) -> Any:
    return getattr(run.settings.get("training"), key, None)


def _changed(run: PlannedRun, values: dict[str, Any]) -> PlannedRun:
    training = run.settings["training"].model_copy(update=values)
    return replace(run, settings={**run.settings, "training": training})
