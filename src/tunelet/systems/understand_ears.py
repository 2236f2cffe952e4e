"""Ears of a prefix model: a folder of an encoder, or a recipe of `speech-encoder` that makes one. Not here: hearing.

Example:
    >>> ears_key("understand-speech-encoder", None)             # doctest: +SKIP
    '3f0c...'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunelet.base.errors import Problem, RecipeError
from tunelet.base.files import digest, sha256_file
from tunelet.training.events import Observer


def ears_key(ears: str, data_dir: Path | None) -> str:
    """By what the ears of a recipe are known before they are made.

    Raises:
        RecipeError: there is neither such a folder nor such a recipe.
        DataError: what the recipe reads is wrong.
    """
    folder = Path(ears).expanduser()
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return digest({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})
    recipe = _recipe(ears)
    from tunelet.systems.speech_encoder_recipe import load_data

    return digest([recipe.tree, load_data(recipe, data_dir).sha256])


def ears_folder(
    ears: str, cache: Path, observer: Observer, interrupted: Callable[[], bool], data_dir: Path | None
) -> Path:
    """The folder of the encoder, made if it is not there."""
    folder = Path(ears).expanduser()
    if folder.is_dir():
        return folder
    from tunelet.systems.speech_encoder import encoder_stage

    return encoder_stage(_recipe(ears), cache, observer, interrupted, data_dir=data_dir)


def _recipe(name: str) -> Any:
    from tunelet.systems import load_recipe

    try:
        recipe = load_recipe(name)
    except RecipeError as error:
        hint = "give the folder of an encoder, or a recipe of speech-encoder, such as understand-speech-encoder"
        message = f"{name!r} is neither a folder nor a recipe: {error.problems[0].message}"
        raise RecipeError(Problem(message, None, None, "model.ears", hint)) from None
    if recipe.system != "speech-encoder":
        raise RecipeError(Problem(f"a recipe of {recipe.system!r}, expected speech-encoder", name, None, "model.ears"))
    return recipe
