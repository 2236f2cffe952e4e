"""Writes the reference tables of the documentation from the code, so that the two cannot drift apart.

A table stands between ``<!-- reference: NAME -->`` and ``<!-- end of reference -->``; everything else in a page is
written by hand. Not here: prose.

Example:
    python docs/make_reference.py           # write
    python docs/make_reference.py --check   # exit status 1 if a page is not what the code says
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- reference: (?P<name>[\w. -]+) -->\n).*?(<!-- end of reference -->)", re.DOTALL)
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "min_length": "length at least"}


def tables() -> dict[str, str]:
    """Every table by its name."""
    # imported here: a module of `docs` that is only looked at should not need the package
    from tunelet.data.multitask import MultitaskSettings
    from tunelet.data.plain_text import PlainTextSettings
    from tunelet.data.recognisers.settings import SphinxSettings
    from tunelet.data.settings import DataSettings
    from tunelet.data.speaking import MannerSettings
    from tunelet.models.settings import ModelSettings
    from tunelet.report import (
        adapt_lm_schema,
        fuse_schema,
        rescore_robustness_schema,
        rescore_schema,
        result_schema,
        speech_encoder_schema,
        understand_schema,
    )
    from tunelet.systems.adapt_lm_recipe import AdaptLmRecipe, LanguageSettings
    from tunelet.systems.classify_recipe import ClassifyRecipe, RunBlock
    from tunelet.systems.fuse_recipe import ApproachSettings, ExpertSettings, FuseRecipe
    from tunelet.systems.rescore_data_settings import RescoreDataSettings
    from tunelet.systems.rescore_language_settings import LanguageModelSettings
    from tunelet.systems.rescore_recipe import RescoreRecipe
    from tunelet.systems.rescore_robustness_recipe import RobustnessSettings
    from tunelet.systems.rescore_scorer_settings import DistilSettings, NGramSettings, ScorerSettings, SimulatedSettings
    from tunelet.systems.speech_encoder_recipe import SpeechEncoderRecipe
    from tunelet.systems.speech_encoder_settings import (
        AugmentationSettings,
        EncoderSettings,
        PieceHeadSettings,
        SpokenTextSettings,
        WordSearchSettings,
    )
    from tunelet.systems.understand_base_data import BaseDataSettings
    from tunelet.systems.understand_base_recipe import BaseRecipe, EpisodesSection, PrefixSettings
    from tunelet.systems.understand_recipe import UnderstandRecipe
    from tunelet.systems.understand_settings import (
        ApproachSettings as UnderstandApproach,
    )
    from tunelet.systems.understand_settings import (
        EvaluationSettings,
        UnderstandDataSettings,
        UnderstandModelSettings,
    )
    from tunelet.systems.understand_start import StartSettings
    from tunelet.training.settings import BatchSettings, TrainingSettings
    from tunelet.tuning.fusion.settings import FusionSettings
    from tunelet.tuning.settings import AdaLoraSettings, RankSettings, TuningSettings

    found = {
        "recipe": keys(ClassifyRecipe),
        "recipe.data": keys(DataSettings),
        "recipe.model": keys(ModelSettings),
        "recipe.tuning": keys(TuningSettings),
        "recipe.tuning.adalora": keys(AdaLoraSettings),
        "recipe.tuning.rank_schedule": keys(RankSettings),
        "recipe.training": keys(TrainingSettings),
        "recipe.training.batch": keys(BatchSettings),
        "recipe.runs": keys(RunBlock),
        "adapt-lm": keys(AdaptLmRecipe),
        "adapt-lm.data": keys(PlainTextSettings),
        "adapt-lm.language": keys(LanguageSettings),
        "adapt-lm.scores": keys(adapt_lm_schema.LanguageScores, values=False),
        "fuse": keys(FuseRecipe),
        "fuse.data": keys(MultitaskSettings),
        "fuse.approach": keys(ApproachSettings),
        "fuse.experts": keys(ExpertSettings),
        "fuse.fusion": keys(FusionSettings),
        "fuse.cell": keys(fuse_schema.Cell, values=False),
        "result.run": keys(result_schema.Run, values=False),
        "result.resources": keys(result_schema.Resources, values=False),
        "rescore": keys(RescoreRecipe),
        "rescore.data": keys(RescoreDataSettings),
        "rescore.scorer": keys(ScorerSettings),
        "rescore.ngram": keys(NGramSettings),
        "rescore.simulated": keys(SimulatedSettings),
        "rescore.distil": keys(DistilSettings),
        "rescore.language_model": keys(LanguageModelSettings),
        "rescore.first_pass": keys(SphinxSettings),
        "rescore.set": keys(rescore_schema.WordErrors, values=False),
        "rescore.way": keys(rescore_schema.Way, values=False),
        "rescore.changes": keys(rescore_schema.Changes, values=False),
        "rescore.curve": keys(rescore_schema.Curve, values=False),
        "rescore.robustness": keys(RobustnessSettings),
        "rescore.robustness.summary": keys(rescore_robustness_schema.Summary, values=False),
        "rescore.robustness.row": keys(rescore_robustness_schema.Perturbation, values=False),
        "understand-base": keys(BaseRecipe),
        "understand-base.data": keys(BaseDataSettings),
        "understand-base.prefix": keys(PrefixSettings),
        "understand-base.episodes": keys(EpisodesSection),
        "speech-encoder": keys(SpeechEncoderRecipe),
        "speech-encoder.data": keys(SpokenTextSettings),
        "speech-encoder.manner": keys(MannerSettings),
        "speech-encoder.encoder": keys(EncoderSettings),
        "speech-encoder.pieces": keys(PieceHeadSettings),
        "speech-encoder.search": keys(WordSearchSettings),
        "speech-encoder.augmentation": keys(AugmentationSettings),
        "speech-encoder.scores": keys(speech_encoder_schema.HeardScores, values=False),
        "understand": keys(UnderstandRecipe),
        "understand.data": keys(UnderstandDataSettings),
        "understand.model": keys(UnderstandModelSettings),
        "understand.base": keys(StartSettings),
        "understand.approach": keys(UnderstandApproach),
        "understand.evaluation": keys(EvaluationSettings),
        "understand.cell": keys(understand_schema.RunCell, values=False),
        "understand.class": keys(understand_schema.ClassRow, values=False),
        "understand.maps": keys(understand_schema.LabelMaps, values=False),
        "understand.stages": keys(understand_schema.Stages, values=False),
        "understand.task": keys(understand_schema.UnderstandTask, values=False),
        "methods.targets": _targets(),
    }
    return found | _manifest() | {f"cli.{name}": table for name, table in _commands()}


def pages() -> list[Path]:
    """The pages that hold tables."""
    return [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def filled(text: str, found: dict[str, str]) -> str:
    """A page with its tables as they should be."""
    return BLOCK.sub(lambda match: match[1] + found[match["name"]] + match[3], text)


def keys(model: type[BaseModel], *, values: bool = True) -> str:
    """One row for each field of a pydantic model; `values` adds what is allowed and the default."""
    if not values:
        rows = [[f"`{name}`", _sentence(field)] for name, field in _fields(model)]
        return markdown(["key", "meaning"], rows)
    rows = [[f"`{name}`", _sentence(field), _allowed(field), _default(field)] for name, field in _fields(model)]
    return markdown(["key", "meaning", "allowed", "default"], rows)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("<", "\\<") for cell in line) + " |\n" for line in lines
    )


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _sentence(field: FieldInfo) -> str:
    if field.description:
        return field.description
    inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)]
    return (inner[0].__doc__ or "").splitlines()[0].rstrip(".") if inner else ""


def _allowed(field: FieldInfo) -> str:
    if _is_model(field.annotation):
        return "a section"
    bounds = []
    for mark in field.metadata:
        parts = mark if isinstance(mark, annotated_types.GroupedMetadata) else [mark]
        for part in parts:
            bounds += [f"{sign} {getattr(part, key):g}" for key, sign in _BOUNDS.items() if hasattr(part, key)]
    return ", ".join([_kind(field.annotation), *bounds]).replace("text, length at least 1", "text")


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        kinds = [_kind(kind) for kind in inner]
        return " or ".join(dict.fromkeys(kinds))
    if origin is not None and getattr(annotation, "__metadata__", None):
        return _kind(inner[0])
    if origin in (tuple, list):
        items = [kind for kind in inner if kind is not Ellipsis]
        if origin is tuple and Ellipsis not in inner:
            return f"{len(items)} × {_kind(items[0])}"
        plural = ("text", "number", "whole number", "value")
        named = {"a section": "sections", **{kind: f"{kind}s" for kind in plural}}
        return f"list of {named.get(_kind(items[0]), _kind(items[0]))}"
    if origin is dict:
        return f"{_kind(inner[0])}: {_kind(inner[1])}"
    if _is_model(annotation):
        return "a section"
    names = {str: "text", int: "whole number", float: "number", bool: "true, false", type(None): "null", Any: "value"}
    return names.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None or field.default is PydanticUndefined:
        return ""
    value = field.default
    if value is None or value == "" or value == ():
        return {None: "null", "": "empty", (): "none"}[value]
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _manifest() -> dict[str, str]:
    from tunelet.tuning import manifest

    parts = {"base": manifest.BaseEntry, "task": manifest.TaskEntry, "files": manifest.FileEntry}
    found = {"manifest": keys(manifest.Manifest, values=False)}
    return found | {f"manifest.{name}": keys(model, values=False) for name, model in parts.items()}


def _targets() -> str:
    from tunelet.tuning.targets import ARCHITECTURES

    rows: dict[str, list[str]] = {}
    for architecture, names in sorted(ARCHITECTURES.items()):
        first = [f"`{name}`" for name in (names.query, names.key, names.value)]
        dense = ", ".join(f"`{name}`" for name in names.dense)
        rows.setdefault(f"{', '.join(first)} | {dense}", []).append(architecture)
    cells = [[", ".join(kinds), *key.split(" | ")] for key, kinds in rows.items()]
    return markdown(["architecture (`config.model_type`)", "query, key, value", "the other linear layers"], cells)


def _commands() -> Iterator[tuple[str, str]]:
    from tunelet.cli import app

    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        rows = []
        for part in command.params:
            is_option = part.opts[0].startswith("-")
            spelled = ", ".join(f"`{option}`" for option in [*part.opts, *part.secondary_opts])
            if is_option and not getattr(part, "is_flag", False) and part.metavar:
                spelled += f" `{part.metavar}`"
            rows.append([spelled if is_option else f"`{part.metavar or part.name}`", getattr(part, "help", "") or ""])
        yield name, markdown(["argument or option", "meaning"], rows)


def main(arguments: list[str]) -> int:
    """Write the tables, or with ``--check`` say which pages they differ in."""
    found, stale = tables(), []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, found)) != text:
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(new, encoding="utf-8")
    if stale:
        print(("stale: " if "--check" in arguments else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
