"""Reads a base's weights into one of transformers' model classes. Not here: which class, and what it does with them.

Example:
    >>> model, report = from_base(AutoModelForMaskedLM, base, base.config, "sdpa", what="masked language model")
    ...                                                         # doctest: +SKIP
    >>> report["missing_keys"]                                  # doctest: +SKIP
    {'cls.predictions.bias', 'cls.predictions.transform.dense.weight', ...}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tunelet.base.errors import BaseModelError, Problem
from tunelet.models.bases import Base
from tunelet.models.quiet import quiet_transformers


def from_base(
    factory: Any, base: Base, config: Any, attention: str, *, what: str, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """A model in fp32 with the base's weights; torch's generator is left as it was.

    Args:
        factory: a class of transformers with `from_pretrained`.
        base: its folder.
        config: of the model.
        attention: "sdpa" or "eager".
        what: what is built, for the error.
        options: more of `from_pretrained`.

    Returns:
        The model, and transformers' report: ``missing_keys``, ``mismatched_keys`` and more.

    Raises:
        BaseModelError: transformers has no such model of this architecture, or cannot read the weights.
    """
    state = torch.get_rng_state()
    try:
        with quiet_transformers():
            model, report = factory.from_pretrained(
                base.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise BaseModelError(Problem(f"no {what} can be built of it: {error}", base.folder)) from error
    finally:
        torch.set_rng_state(state)
    return model, report


def refuse_lost(lost: Iterable[str], base: Base) -> None:
    """Refuse a backbone whose weights are not all in the file.

    Raises:
        BaseModelError: `lost` names at least one.
    """
    names = sorted(lost)
    if names:
        shown = ", ".join(names[:3])
        raise BaseModelError(
            Problem(f"the file lacks {len(names)} weights of the backbone, such as {shown}", base.folder)
        )
