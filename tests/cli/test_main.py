"""The command line as a whole: statuses, help, what goes to which stream, and how it ends early."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import typer

import tunelet
from tunelet import cli, systems
from tunelet.base.errors import InputError, Problem, TrainingError
from tunelet.cli import app, main
from tunelet.systems import recipes

COMMANDS = ["run", "check", "predict", "report", "recipes", "rescore", "understand", "bench", "doctor"]


def raising(error: BaseException) -> Any:
    def function(*arguments: object, **options: object) -> None:
        raise error

    return function


def tunelet_process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tunelet", *arguments], **options)


@pytest.fixture
def restored_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer replaces the streams of a process whose reader went away; the tests go on in this one."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)


# --- help and version


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tunelet {tunelet.__version__}\n"


def test_the_commands_are_those_of_the_documentation() -> None:
    assert {command.name for command in app.registered_commands} == set(COMMANDS)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    shown = capsys.readouterr()
    assert [name for name in COMMANDS if name not in shown.out] == []
    assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_that_begins_with_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Example" in shown
    assert f"tunelet {name}" in shown.split("Example", 1)[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "Usage" in shown.out + shown.err
    assert "error" not in shown.err


# --- statuses


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError(Problem("wrong", "a.yaml", 3)), 2, "error a.yaml:3: wrong"),
        (TrainingError("the loss is NaN"), 1, "error the loss is NaN"),
        (OSError(28, "No space left on device"), 1, "error [Errno 28] No space left on device"),
        (PermissionError(13, "Permission denied", "out"), 1, "Permission denied: 'out'"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_how_a_command_ends(
    error: BaseException, status: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systems, "load_recipe", raising(error))
    assert main(["run", "emotion"]) == status
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_an_interrupt_that_an_older_typer_wrapped_is_one_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def aborting(**options: object) -> None:
        raise typer.Abort from KeyboardInterrupt()

    monkeypatch.setattr(cli, "app", aborting)
    assert main(["recipes"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "load_recipe", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["run", "emotion"])


@pytest.mark.usefixtures("restored_streams")
def test_a_reader_that_went_away_is_no_error_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "shipped_recipes", raising(BrokenPipeError(32, "Broken pipe")))
    assert main(["recipes"]) == 1
    assert capsys.readouterr().err == ""


def test_square_brackets_in_a_message_are_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "expected [bold]a list[/], found [1, 2] in /a/[red]x"
    monkeypatch.setattr(systems, "load_recipe", raising(InputError(message)))
    main(["run", "emotion"])
    assert message in capsys.readouterr().err


def test_a_long_message_is_not_broken_into_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/".join(["folder"] * 60) + "/r.yaml"
    monkeypatch.setattr(systems, "load_recipe", raising(InputError(Problem("wrong", path, 3))))
    main(["run", "emotion"])
    assert f"{path}:3: wrong" in capsys.readouterr().err


# --- as a process


def test_the_module_runs_as_the_command() -> None:
    with tunelet_process("run", "emotoin", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert b"did you mean 'emotion'?" in err


@pytest.mark.parametrize("arguments", [("recipes", "emotion-paper"), ("check", "--schema"), ("--help",)])
def test_a_closed_pipe_ends_quietly(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with tunelet_process(*arguments, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        _, err = process.communicate()
    assert err == b""
    assert process.returncode == 1
