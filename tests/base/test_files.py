"""Files and folders are either what they were or all of the new, wherever the write dies."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base import files
from tunelet.base.errors import DamagedFileError
from tunelet.base.files import (
    MANIFEST,
    canonical_json,
    digest,
    folder_bytes,
    publish_folder,
    read_json,
    sha256_bytes,
    sha256_file,
    verify_folder,
    write_atomic,
    write_json,
)

STAGES = ("written", "synced", "renamed")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


class Died(BaseException):
    """The end of the process at a stage; no handler of errors catches it."""


def die_at(monkeypatch: pytest.MonkeyPatch, wanted: str, error: BaseException | None = None) -> None:
    def hook(stage: str, path: Path) -> None:
        if stage == wanted:
            raise error or Died(stage)

    monkeypatch.setattr(files, "fault_hook", hook)


def disk_full(*_: object, **__: object) -> Any:
    raise OSError(28, "No space left on device")


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def publish(path: Path, text: str) -> None:
    with publish_folder(path) as part:
        (part / "a.txt").write_text(text)
        (part / "deep" / "er").mkdir(parents=True)
        (part / "deep" / "er" / "b.bin").write_bytes(text.encode() * 3)


def content(path: Path) -> str:
    """What `publish` put there; the folder verifies and is of one piece."""
    entries = verify_folder(path)
    assert set(entries) == {"a.txt", "deep/er/b.bin"}
    text = (path / "a.txt").read_text()
    assert (path / "deep" / "er" / "b.bin").read_bytes() == text.encode() * 3
    return text


# --- JSON and hashes


@given(json_values)
def test_canonical_json_reads_back_and_is_one_line(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert "\n" not in text


@given(st.dictionaries(st.text(max_size=6), json_values, min_size=2, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)
    assert digest({key: value[key] for key in keys}) == digest(value)


@given(json_values, json_values)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": [value]})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": value})
    assert names_in(tmp_path) == []


@given(st.binary(max_size=300))
def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    write_atomic(path, data)
    assert path.read_bytes() == data
    assert sha256_file(path) == sha256_bytes(data)


@given(json_values)
def test_json_comes_back_from_disk(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 1,\n "b": }', "x.json:2: not JSON"),
        (b"", "x.json:1: not JSON"),
        (b'{"a": "\xff"}', "x.json: not UTF-8 at byte 7"),
        (b"[" * 100_000, "x.json: nested too deeply"),
        (None, "x.json: the file is missing"),
    ],
)
def test_a_json_file_that_does_not_parse_is_named_with_its_line(data: bytes | None, says: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(DamagedFileError) as caught:
        read_json(tmp_path / "x.json")
    assert says in str(caught.value)


# --- write_atomic


def test_a_file_is_made_with_its_folders_and_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomic(path, "é\n")
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert path.read_bytes() == "é\n".encode()
    assert path.stat().st_mode == ordinary.stat().st_mode
    assert names_in(path.parent) == ["c.txt"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_is_the_old_or_the_new_one(
    stage: str, old: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    if old is not None:
        write_atomic(path, old)
    die_at(monkeypatch, stage)
    with pytest.raises(Died):
        write_atomic(path, "new")
    expected = "new" if stage == "renamed" else old
    assert (path.read_text() if path.exists() else None) == expected
    assert names_in(tmp_path) == ([] if expected is None else ["x"])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomic(path, "old")
    monkeypatch.setattr(os, call, disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["x"]


# --- folders


def test_a_published_folder_verifies_and_says_what_it_holds(tmp_path: Path) -> None:
    publish(tmp_path / "x", "one")
    entries = verify_folder(tmp_path / "x")
    assert entries["a.txt"] == {"sha256": sha256_bytes(b"one"), "bytes": 3}
    assert entries["deep/er/b.bin"]["bytes"] == 9
    assert folder_bytes(tmp_path / "x") == 12 + (tmp_path / "x" / MANIFEST).stat().st_size
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    assert (tmp_path / "x").stat().st_mode == ordinary.stat().st_mode


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}

    def hook(stage: str, path: Path) -> None:
        if path == tmp_path / "x":
            seen[stage] = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())

    monkeypatch.setattr(files, "fault_hook", hook)
    publish(tmp_path / "x", "one")
    assert seen == {
        "written": ["a.txt", "b.bin"],
        "synced": ["a.txt", "b.bin", MANIFEST],
        "renamed": ["a.txt", "b.bin", MANIFEST],
    }


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("stage", [*STAGES, "aside"])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_folder_is_the_old_or_the_new_one(
    exchange: bool, stage: str, old: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    if old is not None:
        publish(path, old)
    if not exchange:  # as on a file system that cannot
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    reached: list[str] = []

    def hook(now: str, where: Path) -> None:
        if where == path:
            reached.append(now)
            if now == stage:
                raise Died(now)

    monkeypatch.setattr(files, "fault_hook", hook)
    try:
        publish(path, "new")
    except Died:
        expected = "new" if stage == "renamed" else old
    else:
        assert stage not in reached
        expected = "new"
    if expected is None:
        assert names_in(tmp_path) == []
    else:
        assert content(path) == expected
        assert names_in(tmp_path) == ["x"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("old", [None, "old"])
def test_a_killed_process_leaves_the_old_or_the_new_folder(stage: str, old: str | None, tmp_path: Path) -> None:
    """No handler runs at all here: the process is gone, as by SIGKILL or a power cut."""
    path = tmp_path / "x"
    if old is not None:
        publish(path, old)
    code = (
        "import os, sys; from pathlib import Path; from tunelet.base import files\n"
        "path, stage = Path(sys.argv[1]), sys.argv[2]\n"
        "files.fault_hook = lambda now, where: os._exit(9) if (now, where) == (stage, path) else None\n"
        "with files.publish_folder(path) as part:\n"
        "    (part / 'a.txt').write_text('new'); (part / 'deep' / 'er').mkdir(parents=True)\n"
        "    (part / 'deep' / 'er' / 'b.bin').write_bytes(b'new' * 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), stage], check=False)
    assert done.returncode == 9
    expected = "new" if stage == "renamed" else old
    assert (content(path) if path.exists() else None) == expected
    publish(path, "next")  # what was left behind hinders nobody
    assert content(path) == "next"


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("call", ["fsync", "replace", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_leaves_the_old_or_the_new_folder(
    exchange: bool, call: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `nth` call of one kind fails, once."""
    path = tmp_path / "x"
    publish(path, "old")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    real, count = getattr(os, call), 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return disk_full() if count == nth else real(*arguments, **options)

    monkeypatch.setattr(os, call, failing)
    try:
        publish(path, "new")
    except OSError:
        assert content(path) == "old"
    else:
        assert count < nth
        assert content(path) == "new"
    assert names_in(tmp_path) == ["x"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_raises_leaves_nothing(old: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if old is not None:
        publish(path, old)
    with pytest.raises(ZeroDivisionError), publish_folder(path) as part:
        (part / "a.txt").write_text("new")
        raise ZeroDivisionError
    assert names_in(tmp_path) == ([] if old is None else ["x"])
    assert old is None or content(path) == old


def test_what_is_no_longer_part_of_a_folder_is_gone(tmp_path: Path) -> None:
    publish(tmp_path / "x", "old")
    with publish_folder(tmp_path / "x") as part:
        (part / "only.txt").touch()
    assert names_in(tmp_path / "x") == [MANIFEST, "only.txt"]


def test_a_file_in_the_way_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    publish(tmp_path / "x", "new")
    assert content(tmp_path / "x") == "new"
    assert names_in(tmp_path) == ["x"]


def test_the_name_of_the_manifest_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="manifest"), publish_folder(tmp_path / "x") as part:
        (part / MANIFEST).touch()
    assert names_in(tmp_path) == []


# --- verify_folder


@given(st.data())
def test_any_flipped_bit_is_found_and_both_hashes_are_named(tmp_path: Path, data: st.DataObject) -> None:
    publish(tmp_path / "x", "content")
    file = tmp_path / "x" / data.draw(st.sampled_from(["a.txt", "deep/er/b.bin"]))
    before = file.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(before) - 1))
    after = bytearray(before)
    after[bit // 8] ^= 1 << bit % 8
    file.write_bytes(after)
    with pytest.raises(DamagedFileError) as caught:
        verify_folder(tmp_path / "x")
    assert all(part in str(caught.value) for part in (str(file), sha256_bytes(before), sha256_bytes(bytes(after))))


@given(st.data())
def test_any_flipped_bit_of_the_manifest_is_found(tmp_path: Path, data: st.DataObject) -> None:
    publish(tmp_path / "x", "content")
    manifest = tmp_path / "x" / MANIFEST
    flipped = bytearray(manifest.read_bytes())
    bit = data.draw(st.integers(0, 8 * (len(flipped) - 1) - 1))  # the line's end may be any space
    flipped[bit // 8] ^= 1 << bit % 8
    manifest.write_bytes(flipped)
    with pytest.raises(DamagedFileError, match=str(tmp_path / "x")):
        verify_folder(tmp_path / "x")


@given(st.integers(0, 6))
def test_a_file_that_was_cut_short_is_found(tmp_path: Path, length: int) -> None:
    publish(tmp_path / "x", "content")
    os.truncate(tmp_path / "x" / "a.txt", length)
    with pytest.raises(DamagedFileError, match=r"a\.txt"):
        verify_folder(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    publish(tmp_path / "x", "content")
    (tmp_path / "x" / "a.txt").unlink()
    with pytest.raises(DamagedFileError, match=r"a\.txt: the manifest names this file, but it is missing"):
        verify_folder(tmp_path / "x")


@pytest.mark.parametrize(
    "manifest",
    [
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"a.txt": "no entry"}}',
        '{"files": {"a.txt": {}}}',
        '{"files": {"../outside": {"sha256": "0", "bytes": 1}}}',
        '{"files": {"/etc/hostname": {"sha256": "0", "bytes": 1}}}',
        "not json",
    ],
)
def test_a_damaged_manifest_is_an_error(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    publish(tmp_path / "x", "content")
    (tmp_path / "x" / MANIFEST).write_text(manifest)
    with pytest.raises(DamagedFileError) as caught:
        verify_folder(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)
    assert "the content has" not in str(caught.value) or "the manifest says None" in str(caught.value)


def test_a_folder_without_a_manifest_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=f"{MANIFEST}: the file is missing"):
        verify_folder(tmp_path)
