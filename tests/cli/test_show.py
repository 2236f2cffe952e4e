"""`tunelet recipes`, `tunelet doctor` and `tunelet report` without a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy_sweep import Toy
from tunelet.base.yaml_lines import read_yaml
from tunelet.cli import main, show
from tunelet.systems import load_recipe
from tunelet.systems.recipes import shipped_recipes


def test_all_recipes_are_listed_with_their_runs_and_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert {"emotion", "emotion-paper", "emotion-quick"} <= shipped_recipes().keys()
    for line in lines:
        name, runs, word, *title = line.split()
        assert int(runs) == len(load_recipe(name).runs)
        assert word == ("run" if runs == "1" else "runs")
        assert " ".join(title) == read_yaml(shipped_recipes()[name], name).data["title"]


#: systems whose data can be the sentences in the package instead
SAMPLED = ("classify", "adapt-lm")
#: recipe -> options with which it needs no other data; tests/recipes/test_shipped_*.py run the others
EMBEDDED = {
    **{name: ["-o", "data={source: embedded}"] for name in shipped_recipes() if load_recipe(name).system in SAMPLED},
    "fuse-quick": [],
}


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_a_printed_recipe_can_be_run_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", name]) == 0
    printed = capsys.readouterr().out
    assert printed == shipped_recipes()[name]
    (tmp_path / "mine.yaml").write_text(printed)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "mine.yaml", "--no-estimate", *EMBEDDED[name]]) == 0


def test_an_unknown_recipe_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "emotoin"]) == 2
    assert "did you mean 'emotion'?" in capsys.readouterr().err


def test_a_file_is_not_a_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("system: classify\nname: mine\n")
    assert main(["recipes", "mine.yaml"]) == 2
    assert "only shipped recipes are printed" in capsys.readouterr().err


def test_the_doctor_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["extras"].keys() == show.EXTRAS.keys()
    assert all(state == "installed" or state.startswith("missing ") for state in told["extras"].values())
    assert {"torch", "transformers", "peft"} <= told["versions"].keys()
    assert shown.err == ""


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(show, "EXTRAS", {"hub": ("no_such_package", "json"), "offline": ("json",)})
    assert main(["doctor"]) == 0
    assert json.loads(capsys.readouterr().out)["extras"] == {"hub": "missing no_such_package", "offline": "installed"}


def test_a_report_needs_a_folder_with_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "result.json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_anew(ended: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ended.copy(tmp_path / "out")
    (toy.out / "report.html").unlink()
    assert main(["report", str(toy.out)]) == 0
    assert capsys.readouterr().out == f"{toy.out / 'report.html'}\n"
    page = (toy.out / "report.html").read_text()
    assert "A toy" in page and "lora" in page
