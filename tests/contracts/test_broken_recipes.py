"""Every wrong recipe or argument gives status 2, a message with its place and a way out, and leaves no trace.

That the answer comes at once is held by what is imported for it: not torch, which takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts import broken_recipes
from contracts.broken_recipes import CASES, GOOD, Broken
from tunelet.cli import main


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_says_where_and_what_to_do(
    case: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    case.prepare(tmp_path)
    before = tree(tmp_path)
    assert main(case.arguments) == 2
    shown = capsys.readouterr()
    assert [part for part in case.says if part not in shown.err] == [], shown.err
    assert shown.err.startswith("error ")
    assert "Traceback" not in shown.err
    assert shown.out == "" or case.arguments[0] == "check"  # which lists the runs before it reads the data
    assert tree(tmp_path) == before


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60


def test_nothing_is_wrong_before_something_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(GOOD)
    assert main(["check", "r.yaml", "--no-estimate"]) == 0


def test_several_problems_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(GOOD.replace("epochs: 1", "epochs: 0").replace("size: 16", "siz: 16") + "foo: 1\n")
    assert main(["run", "r.yaml", "-o", "training.betas=[2,2]"]) == 2
    told = capsys.readouterr().err
    assert all(place in told for place in ("r.yaml:5", "r.yaml:6", "r.yaml:8", "-o training.betas=[2,2]"))


def test_a_problem_of_all_groups_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(
        GOOD.replace("epochs: 1", "epochs: 0") + "runs: [{name: a}, {name: b}, {name: c}]\n"
    )
    assert main(["run", "r.yaml"]) == 2
    assert capsys.readouterr().err.count("training.epochs") == 1


def test_no_wrong_input_waits_for_torch() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, broken_recipes.__file__], capture_output=True, text=True, check=True, env=environment
    )
    found = json.loads(done.stdout)
    assert found["imported"] == {}
    assert set(found["statuses"].values()) == {2}
    assert len(found["statuses"]) == len(CASES)
