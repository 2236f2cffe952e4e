"""The files of an adapter: writing PEFT's two, and reading tensors with a refusal of what is damaged.

The weights' file carries in its header the labels, so that their order travels with the rows of the head and not only
beside them. PEFT ignores what it does not know there. Not here: `tunelet.json` (`manifest`).

Example:
    >>> tensors, notes = read_tensors(folder / WEIGHTS)     # doctest: +SKIP
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import write_json
from tunelet.tuning.method import Export

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MODEL_WEIGHTS = "model.safetensors"
#: Key of the label list in the weights' header.
LABELS = "tunelet_labels"


def write_adapter(folder: Path, export: Export, *, base_name: str, labels: tuple[str, ...]) -> None:
    """Write PEFT's two files.

    Raises:
        TrainingError: a tensor holds NaN or infinity.
    """
    broken = not_finite(export.tensors)
    if broken:
        raise TrainingError(f"the adapter is not saved: {broken[0]} holds NaN or infinity ({len(broken)} tensors do)")
    notes = {"format": "pt", LABELS: json.dumps(labels)}
    # a tensor that two names share would be refused by safetensors
    whole = save({name: tensor.clone() for name, tensor in export.tensors.items()}, metadata=notes)
    (folder / WEIGHTS).write_bytes(_in_order(whole))
    write_json(folder / CONFIG, {**export.config, "base_model_name_or_path": base_name})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and the notes in the header.

    Raises:
        AdapterError: the file is missing, cut off, or not safetensors; or a tensor holds NaN or infinity.
    """
    if not path.is_file():
        pickled = sorted(p.name for p in path.parent.glob("*.bin"))
        also = f"; {', '.join(pickled)} is a pickle, which can run code, and is not read" if pickled else ""
        raise AdapterError(Problem(f"the file is missing{also}", path))
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise AdapterError(Problem(f"not a whole safetensors file: {error}", path)) from None
    broken = not_finite(tensors)
    if broken:
        raise AdapterError(
            Problem(
                f"{broken[0]} holds NaN or infinity, expected finite numbers "
                f"(so do {len(broken)} of {len(tensors)} tensors)",
                path,
                hint="the run that wrote it had diverged; train again",
            )
        )
    return tensors, notes


def labels_in(notes: dict[str, str]) -> tuple[str, ...] | None:
    """The label list of a weights' header, or None where it has none."""
    try:
        found = json.loads(notes[LABELS])
    except (KeyError, ValueError):
        return None
    return tuple(map(str, found)) if isinstance(found, list) else None


def _in_order(file: bytes) -> bytes:
    """The same safetensors file with sorted notes: the library writes them in an order that changes from time to time,
    and the same adapter should be the same bytes."""
    (size,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight
    return struct.pack("<Q", len(text)) + text + file[8 + size :]


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
