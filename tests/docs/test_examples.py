"""What the documentation tells people to type can be typed: recipes are valid, commands and options exist."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from docs.pages import PAGES, ROOT, blocks
from tunelet.base.errors import RecipeError
from tunelet.cli import app, main
from tunelet.data.task_file import read_task
from tunelet.data.understanding.task_file import read_understanding_task
from tunelet.systems import load_recipe
from tunelet.systems.recipes import shipped_recipes

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def of(*languages: str) -> list[Any]:
    """Every block in one of `languages`, as a case that is called by its page."""
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, *languages), start=1)
    ]


def commands() -> list[str]:
    """Every line of the documentation that calls `tunelet`."""
    lines = []
    for page in PAGES:
        for text in blocks(page, "console", "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                if call := re.match(r"\$ (?:.*\| *)?(?:[A-Z_]+=\S+ +)*(?:\S*/)?tunelet +(.*)", line):
                    lines.append(call[1].split(" | ")[0])
    return sorted(set(lines))


@pytest.mark.parametrize("text", of("yaml"))
def test_yaml_is_a_recipe_or_a_task(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")
    if "system" in yaml.safe_load(text):
        assert load_recipe(path).runs
    elif "instruction" in yaml.safe_load(text):
        assert read_understanding_task(path).labels
    else:
        assert read_task(path).labels


@pytest.mark.parametrize("text", of("python"))
def test_python_is_python(text: str) -> None:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tunelet":
            module = __import__(node.module or "", fromlist=["_"])
            assert all(hasattr(module, name.name) for name in node.names)


@pytest.mark.parametrize("line", commands())
def test_commands_and_options_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "--version":
        return
    assert words[0] in COMMANDS
    known = {option for part in COMMANDS[words[0]].params for option in (*part.opts, *part.secondary_opts)}
    given = {word for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert given <= known | {"--help", "-h"}
    if words[0] in ("run", "check") and len(words) > 1 and not words[1].startswith("-") and "." not in words[1]:
        assert words[1] in shipped_recipes()


def test_the_readme_shows_the_recipes_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert f"$ tunelet recipes\n{capsys.readouterr().out}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_overrides_are_accepted() -> None:
    checked = 0
    for line in commands():
        words = shlex.split(line, comments=True)
        overrides = [value for option, value in itertools.pairwise(words) if option == "-o"]
        if overrides and words[1] in shipped_recipes():
            try:
                load_recipe(words[1], overrides)
            except RecipeError:
                # pages show what an error looks like, with keys that are misspelt on purpose
                assert "training.epoch=1" in overrides, line
            checked += 1
    assert checked >= 3
