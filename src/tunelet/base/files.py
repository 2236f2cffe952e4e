"""Files and folders that are either whole or absent, whatever moment the power goes.

A file is written to a temporary sibling, flushed to disk and renamed. A folder is filled beside its final place;
its manifest (sha256 and size of each file) is written last, then the folder is renamed. Not here: locking
(`base.locks`), formats of particular files.

Example:
    >>> with publish_folder(path) as part:          # doctest: +SKIP
    ...     (part / "weights.bin").write_bytes(b"...")
    >>> verify_folder(path)                         # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError

MANIFEST = "manifest.json"

#: Called with each stage of a write ("written", "synced", "aside", "renamed"). Tests replace it to die there.
fault_hook: Callable[[str, Path], None] = lambda stage, path: None  # noqa: E731


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; the same value gives the same text. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value).encode())


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either what it held or all of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            fault_hook("written", path)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; a result is to be shared
        fault_hook("synced", path)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    fault_hook("renamed", path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: a metric that is not a number is null."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DamagedFileError: the file is missing or does not parse; the message names file and line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFileError(f"{path}: the file is missing") from None
    except json.JSONDecodeError as error:
        raise DamagedFileError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise DamagedFileError(f"{path}: nested too deeply to be a file of ours") from None


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary sibling of `path`; on success it takes the place of `path`, manifest last.

    Yields:
        The folder to write into. If the block raises, nothing is left and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        fault_hook("written", path)
        if (temporary / MANIFEST).exists():
            raise ValueError(f"{MANIFEST} is the name of the folder's own manifest; call the file otherwise")
        entries = {}
        for file in _files_of(temporary):
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
            entries[file.relative_to(temporary).as_posix()] = {
                "sha256": sha256_file(file),
                "bytes": file.stat().st_size,
            }
        for folder in (entry for entry in temporary.rglob("*") if entry.is_dir()):
            _sync_folder(folder)
        write_json(temporary / MANIFEST, {"files": entries})
        temporary.chmod(0o777 & ~_umask())
        fault_hook("synced", path)
        _swap_in(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fault_hook("renamed", path)


def verify_folder(path: Path) -> dict[str, dict[str, Any]]:
    """Check each file of a published folder against its manifest.

    Returns:
        The manifest's entries, by relative path: ``{"sha256": ..., "bytes": ...}``.

    Raises:
        DamagedFileError: a file is missing, or its content is not what the manifest says; both hashes are named.
    """
    path = Path(path)
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise DamagedFileError(f"{path / MANIFEST}: expected an object with the key 'files'")
    for name, entry in manifest["files"].items():
        file = path / name
        if not isinstance(entry, dict) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DamagedFileError(f"{path / MANIFEST}: the entry {name!r} is not one that was written here")
        if not file.is_file():
            raise DamagedFileError(f"{file}: the manifest names this file, but it is missing")
        found = sha256_file(file)
        if found != entry.get("sha256"):
            raise DamagedFileError(f"{file}: the content has sha256 {found}, the manifest says {entry.get('sha256')}")
        if file.stat().st_size != entry.get("bytes"):
            raise DamagedFileError(f"{file}: {file.stat().st_size} bytes, the manifest says {entry.get('bytes')}")
    files: dict[str, dict[str, Any]] = manifest["files"]
    return files


def clear_parts(folder: Path, *, deep: bool = False) -> None:
    """Remove what writes of this module left in `folder` when their process was killed.

    Only whoever holds the folder may do so (`base.locks`): the part of a write that goes on looks the same.

    Args:
        folder: where the writes went; it need not exist.
        deep: in the folders below, too.
    """
    for path in sorted(folder.rglob(".*.part") if deep else folder.glob(".*.part")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def folder_bytes(path: Path) -> int:
    """Size of all files below `path`, in bytes."""
    return sum(file.stat().st_size for file in _files_of(Path(path)))


def _files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _swap_in(temporary: Path, path: Path) -> None:
    """Put `temporary` in the place of `path`.

    A plain rename cannot replace a folder. Where the system can exchange two folders in one step, it does; else the
    old one is moved aside first and comes back if the second rename fails.
    """
    if not path.exists():
        os.rename(temporary, path)
        _sync_folder(path.parent)
    elif path.is_dir() and _exchange(temporary, path):
        _sync_folder(path.parent)
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
        try:
            os.rename(path, aside / "old")
            fault_hook("aside", path)
            os.rename(temporary, path)
        except BaseException:
            if (aside / "old").exists():
                os.rename(aside / "old", path)
            aside.rmdir()
            raise
        _sync_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step, by Linux's renameat2; False where that is not to be had."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    at_cwd, exchange = -100, 2
    return bool(rename(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange) == 0)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
