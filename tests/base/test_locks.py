"""A run folder belongs to one process; the lock goes with the process, however that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunelet.base.errors import RunFolderBusyError
from tunelet.base.locks import folder_lock

HOLD = (
    "import sys; from pathlib import Path; from tunelet.base.locks import folder_lock\n"
    "with folder_lock(Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)
TRY = (
    "import sys; from pathlib import Path; from tunelet.base.locks import folder_lock\n"
    "from tunelet.base.errors import RunFolderBusyError\n"
    "try:\n"
    "    with folder_lock(Path(sys.argv[1])): print('free')\n"
    "except RunFolderBusyError: print('busy')\n"
)


def tried_elsewhere(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", TRY, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_folder_is_made_and_free_again_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with folder_lock(folder):
        assert folder.is_dir()
    with folder_lock(folder):
        pass


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(RunFolderBusyError) as caught, folder_lock(tmp_path):
        pytest.fail("two hold it")
    assert str(tmp_path) in str(caught.value)
    assert "--out" in str(caught.value)
    assert caught.value.exit_status == 1


def test_another_process_is_refused_until_this_one_is_done(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert tried_elsewhere(tmp_path) == "busy"
    assert tried_elsewhere(tmp_path) == "free"


def test_an_error_in_the_block_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        raise ZeroDivisionError
    with folder_lock(tmp_path):
        pass


def test_a_killed_holder_leaves_no_stale_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderBusyError), folder_lock(tmp_path):
            pytest.fail("two hold it")
        holder.kill()
        holder.wait()
    with folder_lock(tmp_path):
        pass
