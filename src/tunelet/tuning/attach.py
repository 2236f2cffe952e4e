"""Puts stored adapters and whole models back together, strictly: nothing dropped, nothing left random.

PEFT warns about missing tensors, drops those it cannot place, and says nothing of a base with fewer layers. Here
each is an error. Not here: the other checks (`checks`).

Example:
    >>> model, said = attach_stored(classifier, folder, tensors, refusals)      # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tunelet.base.errors import AdapterError, Problem
from tunelet.models.quiet import quiet_transformers
from tunelet.tuning.checks import Refusals, tensor_problems
from tunelet.tuning.stored import CONFIG, MODEL_WEIGHTS, WEIGHTS


def attach_stored(
    model: PreTrainedModel, folder: Path, tensors: dict[str, Tensor], refusals: Refusals
) -> tuple[PeftModel, tuple[str, ...]]:
    """`model` with the adapter in `folder`, in evaluation mode, and what PEFT warned of.

    Args:
        model: the base with a head; changed in place.
        tensors: what the adapter's file holds.

    Raises:
        AdapterError: the adapter does not fit; names and shapes of both sides are told.
    """
    state = torch.get_rng_state()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            tuned = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
            held = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = getattr(getattr(model, "config", None), "model_type", "unknown")
        raise AdapterError(
            Problem(f"{CONFIG} and {WEIGHTS} do not fit the base (a {kind} model): {str(error).strip()}", folder)
        ) from error
    finally:
        torch.set_rng_state(state)
    refusals.refuse(tensor_problems(folder / WEIGHTS, tensors, held))
    notes = tuple(str(w.message) for w in said if not issubclass(w.category, DeprecationWarning | FutureWarning))
    return tuned.eval(), notes


def load_whole(
    folder: Path, attention: str, refusals: Refusals, factory: Any = AutoModelForSequenceClassification
) -> nn.Module:
    """The whole model in `folder`, fp32, in evaluation mode.

    Args:
        factory: the class of transformers that builds it.

    Raises:
        AdapterError: weights are missing, too many, or do not fit the config.
    """
    state = torch.get_rng_state()
    try:
        with quiet_transformers():
            model, report = factory.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise AdapterError(Problem(f"the model cannot be loaded: {error}", folder)) from error
    finally:
        torch.set_rng_state(state)
    path = folder / MODEL_WEIGHTS
    problems = [Problem(f"the model has {name}, the file does not hold it", path) for name in report["missing_keys"]]
    extra = report["unexpected_keys"]
    problems += [Problem(f"the file holds {name}, the model has no such tensor", path) for name in extra]
    refusals.refuse(problems)
    loaded: nn.Module = model.eval()
    return loaded
