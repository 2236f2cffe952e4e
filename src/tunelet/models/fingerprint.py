"""By what a base and its tokenizer are known: a hash of what they compute, not their name.

Two bases of the same shape differ here, two copies of one base do not: not by the folder, not by the head that was
saved with them, not by the version that wrote the config. Not here: finding a base (`models.bases`).

Example:
    >>> base_fingerprint(folder, config)[:12]       # doctest: +SKIP
    '1a4728be5b72'
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelet.base.files import digest
from tunelet.models.tensor_files import tensor_digests, weight_files

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

#: What the weights' shapes do not show. A key that the architecture lacks counts as null.
_ESSENTIALS = (
    "model_type",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "layer_norm_eps",
    "position_embedding_type",
    "pad_token_id",
    "relative_attention",
    "max_relative_positions",
    "pos_att_type",
)


def base_fingerprint(folder: Path, config: PretrainedConfig) -> str:
    """Hex sha256 over the essentials of the config and name, type, shape and bytes of each backbone tensor.

    Raises:
        BaseModelError: the weights are missing, pickled or cut off.
    """
    # (path, size, time) is the key, so that a sweep hashes its base once
    marks = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in weight_files(folder))
    known: dict[str, Any] = {"config": _essentials(config)}
    # a model of several parts has a config for each
    parts = {name: _essentials(getattr(config, name)) for name in sorted(getattr(config, "sub_configs", None) or ())}
    known |= {"parts": parts} if parts else {}
    return digest({**known, "tensors": _backbone(marks, folder, backbone_prefix(config))})


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Hex sha256 of a fast tokenizer: vocabulary, normaliser, model and post-processor.

    Padding and truncation are left out: they are state that any call may change, not part of what a text becomes.
    """
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    return digest({key: value for key, value in tree.items() if key not in ("padding", "truncation", "version")})


def backbone_prefix(config: PretrainedConfig) -> str:
    """What the backbone is called inside models with a head ("bert"), or "" where transformers knows no such model."""
    from transformers import MODEL_MAPPING

    if type(config) not in MODEL_MAPPING:
        return ""
    return str(MODEL_MAPPING[type(config)].base_model_prefix)


@lru_cache(maxsize=8)
def _backbone(marks: tuple[tuple[str, int, int], ...], folder: Path, prefix: str) -> dict[str, list[Any]]:
    stored = tensor_digests(folder)
    dotted = f"{prefix}."
    if prefix and any(name.startswith(dotted) for name in stored):
        # saved from a model with a head: what lies outside the backbone is not loaded, so it does not count
        stored = {name.removeprefix(dotted): entry for name, entry in stored.items() if name.startswith(dotted)}
    return {
        name: [entry.dtype, list(entry.shape), entry.sha256]
        for name, entry in sorted(stored.items())
        if not name.endswith("position_ids")  # a constant buffer that older files carry
    }


def _essentials(config: Any) -> dict[str, Any]:
    return {key: _plain(getattr(config, key, None)) for key in _ESSENTIALS}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else [str(item) for item in value]
