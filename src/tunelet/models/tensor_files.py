"""Hashes of the tensors in a model folder, read from the safetensors files byte by byte.

Not here: tensors. The header of a safetensors file says where each tensor lies, so its bytes are hashed without
torch and without a copy in memory. Only safetensors is read: other weight files are pickles.

Example:
    >>> tensor_digests(folder)["embeddings.word_embeddings.weight"]     # doctest: +SKIP
    TensorDigest(dtype='F32', shape=(30522, 384), sha256='...')
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.base.errors import BaseModelError, Problem

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class TensorDigest:
    """What a tensor is: its element type as safetensors names it, its shape, the sha256 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, sharded or not.

    Raises:
        BaseModelError: there are none, or the index names one that is missing.
    """
    if (folder / SINGLE).is_file():
        return (folder / SINGLE,)
    if (folder / INDEX).is_file():
        shards = _shards(folder / INDEX)
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise BaseModelError([Problem("the index names this file, but it is missing", folder / n) for n in missing])
        return tuple(folder / name for name in shards)
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        raise BaseModelError(
            Problem(
                f"found {', '.join(pickled)}, expected {SINGLE}: pickled weights can run code and are not read",
                folder,
                hint="convert them once with transformers' save_pretrained",
            )
        )
    raise BaseModelError(Problem(f"found no {SINGLE}", folder, hint="give the folder that save_pretrained wrote"))


def tensor_digests(folder: Path) -> dict[str, TensorDigest]:
    """Digest of each tensor by its stored name.

    Raises:
        BaseModelError: no safetensors file, or one that is cut off or damaged; the message names it.
    """
    digests: dict[str, TensorDigest] = {}
    for path in weight_files(folder):
        digests |= _digests(path)
    return digests


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise BaseModelError(Problem("not an index of safetensors files", index)) from None


def _digests(path: Path) -> dict[str, TensorDigest]:
    size = path.stat().st_size
    if size < 8:
        raise BaseModelError(Problem(f"{size} bytes are too few for a safetensors file", path))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (header_bytes,) = struct.unpack("<Q", data[:8])
        start = 8 + header_bytes
        if start > size:
            raise BaseModelError(Problem(f"the header should end at byte {start}, the file at byte {size}", path))
        header = _header(data[8:start], path)
        end = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != size:
            raise BaseModelError(Problem(f"the tensors should end at byte {end}, the file ends at byte {size}", path))
        with memoryview(data) as view:
            return {name: _digest(view, start, entry) for name, entry in header.items()}


def _header(text: bytes, path: Path) -> dict[str, dict[str, Any]]:
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        for entry in header.values():
            first, last = entry["data_offsets"]
            if not (isinstance(entry["dtype"], str) and 0 <= first <= last and len(entry["shape"]) >= 0):
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BaseModelError(Problem("the header is not one of a safetensors file", path)) from None
    found: dict[str, dict[str, Any]] = header
    return found


def _digest(view: memoryview, start: int, entry: dict[str, Any]) -> TensorDigest:
    first, last = entry["data_offsets"]
    with view[start + first : start + last] as part:
        return TensorDigest(entry["dtype"], tuple(entry["shape"]), hashlib.sha256(part).hexdigest())
