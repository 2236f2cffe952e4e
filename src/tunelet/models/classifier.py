"""Puts a new classification head on a base. Not here: what of the model is trained (`tuning`).

The head is drawn from the random stream ("head") of the seed, whatever state the global generators are in, and
building a model leaves them as they were. A head that the base was saved with is not used: its labels are others.

Example:
    >>> model = build_classifier(base, task, attention="sdpa", seed=1)      # doctest: +SKIP
    >>> head_modules(model)                                                 # doctest: +SKIP
    ('classifier',)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from tunelet.base.errors import BaseModelError, Problem
from tunelet.base.streams import torch_stream
from tunelet.data.records import Task
from tunelet.models.bases import Base
from tunelet.models.declared import declared
from tunelet.models.loading import from_base, refuse_lost

#: Where a model keeps the names of backbone modules that its base had no weights for.
_FRESH = "_tunelet_fresh_modules"


def build_classifier(base: Base, task: Task, *, attention: str = "sdpa", seed: int = 0) -> PreTrainedModel:
    """The base with a new head for the labels of `task`, in fp32 on the CPU, in evaluation mode.

    Args:
        attention: "sdpa" or "eager".
        seed: of the run; the head uses its stream "head".

    Raises:
        BaseModelError: transformers has no sequence classifier of this architecture, or the weights do not fit.
    """
    names = task.label_names
    config = type(base.config).from_dict(base.config.to_dict())
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    config.problem_type = "multi_label_classification" if task.multi_label else "single_label_classification"
    model, report = from_base(
        AutoModelForSequenceClassification,
        base,
        config,
        attention,
        what="sequence classifier",
        ignore_mismatched_sizes=True,  # a stored head of other size; what else mismatches is refused below
    )
    fresh = _fresh_modules(model, report, base)
    setattr(model, _FRESH, fresh)
    _draw(model, (*outside_backbone(model), *fresh), seed)
    built: PreTrainedModel = model.eval()
    return built


def outside_backbone(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules with parameters that are not the pretrained backbone: the head, as transformers builds it.

    BERT has ``classifier``, DistilBERT ``pre_classifier`` and ``classifier``, DeBERTa ``pooler`` and ``classifier``.
    """
    backbone = getattr(model, "base_model_prefix", "")
    return tuple(
        name
        for name, child in model.named_children()
        if name != backbone and next(child.parameters(), None) is not None
    )


def head_modules(model: nn.Module) -> tuple[str, ...]:
    """Names of all modules that start untrained, so that they train whatever the method: the head, and modules of
    the backbone that the base's file lacks (the pooler, in some BERT files). A model may say it itself
    (`models.declared`): of a language model's head, most is pretrained or tied."""
    said = declared(model)
    if said is not None:
        return said.fresh_modules
    return (*outside_backbone(model), *getattr(model, _FRESH, ()))


def output_weight_name(config: PretrainedConfig) -> str:
    """Name of the weight whose rows are the labels, such as ``classifier.out_proj.weight``, found without weights."""
    marker = 7_919  # no layer has so many outputs, so its row count tells the output layer apart
    probe = type(config).from_dict({**config.to_dict(), "id2label": None, "label2id": None})
    probe.num_labels = marker
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(probe)
    return next(str(name) for name, p in model.named_parameters() if p.ndim == 2 and p.shape[0] == marker)


def _fresh_modules(model: PreTrainedModel, report: dict[str, Any], base: Base) -> tuple[str, ...]:
    """Modules of the backbone without stored weights; a backbone that is mostly missing is refused."""
    head = tuple(f"{name}." for name in outside_backbone(model))
    mismatched = [key for key in report["mismatched_keys"] if not str(key[0]).startswith(head)]
    if mismatched:
        shown = "; ".join(f"{name} is {tuple(a)} in the file, {tuple(b)} in the model" for name, a, b in mismatched[:3])
        raise BaseModelError(Problem(f"weights do not fit the config: {shown}", base.folder))
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(head))
    fresh = sorted({".".join(key.split(".")[:2]) for key in missing if ".pooler." in key})
    refuse_lost([key for key in missing if ".pooler." not in key], base)
    return tuple(fresh)


def _draw(model: PreTrainedModel, names: tuple[str, ...], seed: int) -> None:
    """Fill the named modules: matrices from N(0, initializer_range), norm weights with one, all else with zero."""
    stream = torch_stream(seed, "head")
    spread = float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for name in names:
            for module in model.get_submodule(name).modules():
                for key, parameter in module.named_parameters(recurse=False):
                    if parameter.ndim > 1:
                        parameter.normal_(0.0, spread, generator=stream)
                    else:
                        parameter.fill_(1.0 if key == "weight" else 0.0)
