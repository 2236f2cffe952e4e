"""`make demo` runs shipped recipes with settings that they have, and names the report of each."""

from __future__ import annotations

import itertools
import re
import shlex

from docs.pages import ROOT
from tunelet.data.understanding.tasks import find_task
from tunelet.systems import load_recipe
from tunelet.systems.recipes import shipped_recipes


def target(name: str) -> list[str]:
    """The lines of a target."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:[^\n]*\n((?:\t[^\n]*\n)+)", text, re.MULTILINE)
    assert found is not None
    return [line.lstrip("\t@") for line in found[1].splitlines()]


def test_the_demo_runs_recipes_and_names_their_reports() -> None:
    lines = target("demo")
    runs = [shlex.split(line) for line in lines if line.startswith("$(BIN)/tunelet run ")]
    assert {words[2] for words in runs} >= {"emotion-quick", "rescore-quick"}
    said = "\n".join(line for line in lines if line.startswith("echo"))
    for words in runs:
        options = {option: value for option, value in itertools.pairwise(words) if option[0] == "-"}
        overrides = [value for option, value in itertools.pairwise(words) if option == "-o"]
        assert words[2] in shipped_recipes() and load_recipe(words[2], overrides).runs
        assert f"{options['--out']}/report.html" in said


def read_by(recipe: str, overrides: list[str]) -> list[str]:
    """Where a recipe takes its data from."""
    loaded = load_recipe(recipe, overrides)
    data = loaded.data.model_dump()
    if loaded.system == "understand":
        stage = loaded.runs[0].settings["base"].model_dump()["stage"]
        return [find_task(name).data.path for name in {*data["sources"], *data["tasks"], *stage["data"]["tasks"]}]
    return [data["source"]] if data.get("source") else [*data["train"], *data["test"].values(), *data["text"]]


def test_the_demo_asks_for_no_data_of_the_user() -> None:
    """A folder in TUNELET_DATA must not turn two minutes into hours."""
    for line in target("demo"):
        if line.startswith("$(BIN)/tunelet run "):
            words = shlex.split(line)
            overrides = [value for option, value in itertools.pairwise(words) if option == "-o"]
            assert all(re.match("embedded(:|$)", place) for place in read_by(words[2], overrides)), words[2]
