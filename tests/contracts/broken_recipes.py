"""A table of wrong recipes, overrides and arguments: what is given, and what the error must say.

Not here: wrong data files (`data.broken_data`). Run as a script in an empty folder, it gives every case to the
command line and tells as JSON which heavy modules were imported for that.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tunelet.cli import main

GOOD = """\
system: classify
name: mine
data: {source: embedded}
training:
  epochs: 1
  batch: {size: 16}
seeds: [1]
"""


@dataclass(frozen=True)
class Broken:
    """One wrong input.

    Attributes:
        name: of the case.
        says: parts of the message: the place, and what to do.
        recipe: what ``r.yaml`` holds; None: there is no such file.
        arguments: of the command line.
        folders: folders that exist beside the recipe.
    """

    name: str
    says: tuple[str, ...]
    recipe: str | bytes | None = GOOD
    arguments: tuple[str, ...] = ("run", "r.yaml")
    folders: tuple[str, ...] = field(default=())

    def prepare(self, folder: Path) -> None:
        """Write what the case needs."""
        if self.recipe is not None:
            (folder / "r.yaml").write_bytes(self.recipe.encode() if isinstance(self.recipe, str) else self.recipe)
        for name in self.folders:
            (folder / name).mkdir()


def recipe(name: str, text: str, *says: str) -> Broken:
    """A recipe that is wrong as a whole."""
    return Broken(name, says, text)


def added(name: str, text: str, *says: str) -> Broken:
    """A good recipe with wrong lines after it; they begin at line 8."""
    return Broken(name, says, GOOD + text + "\n")


def swapped(name: str, old: str, new: str, *says: str) -> Broken:
    """A good recipe with one text in the place of another."""
    assert GOOD.count(old) == 1, name
    return Broken(name, says, GOOD.replace(old, new))


def override(name: str, text: str, *says: str) -> Broken:
    """A good recipe with a wrong ``-o``."""
    return Broken(name, says, GOOD, ("run", "r.yaml", "-o", text))


def arguments(name: str, given: str, *says: str, folders: tuple[str, ...] = ()) -> Broken:
    """Wrong arguments beside a good recipe."""
    return Broken(name, says, GOOD, tuple(given.split()), folders)


_BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True))
_GROUPS = "runs:\n  - name: a\n    tuning: {r: 2}\n  - name: b\n"

CASES = (
    # not YAML, or more than plain data
    recipe("empty file", "", "r.yaml", "the file is empty", "tunelet recipes"),
    recipe("only a comment", "# nothing\n", "r.yaml", "the file is empty", "tunelet recipes"),
    recipe("a tab", "system: classify\ntraining:\n\tepochs: 3\n", "r.yaml:3", "indent with spaces"),
    recipe("an open bracket", GOOD + "runs: [1, 2\n", "r.yaml:9", "not YAML", "quote texts"),
    recipe("a colon in a text", GOOD + "title: a: b\n", "r.yaml:8", "not YAML", "quote texts"),
    added("duplicate key", "name: other", "r.yaml:8: name", "stands twice; the first is in line 2"),
    swapped(
        "duplicate nested key", "  epochs: 1\n", "  epochs: 1\n  epochs: 2\n", "r.yaml:6: training.epochs", "line 5"
    ),
    recipe("alias bomb", _BOMB, "r.yaml:1", "anchors are not allowed", "plain mappings"),
    recipe("alias without anchor", "a: *x\n", "r.yaml:1", "aliases are not allowed"),
    added("python tag", "title: !!python/object/apply:os.system [touch hacked]", "r.yaml:8", "!!python/object/apply"),
    added("custom tag", "title: !mine x", "r.yaml:8", "the tag !mine is not allowed"),
    recipe("deep nesting", "a: " + "[" * 5000 + "]" * 5000, "r.yaml:1", "deeper than 32 levels"),
    recipe("two documents", GOOD + "---\n" + GOOD, "r.yaml:8", "another document"),
    recipe("a list", "- system: classify\n", "r.yaml:1", "expected a mapping of sections"),
    recipe("a text", "classify\n", "r.yaml:1", "expected a mapping of sections"),
    Broken("not UTF-8", ("r.yaml:2", "not UTF-8", "0xE9"), b"system: classify\nname: caf\xe9\n"),
    Broken("a NUL", ("r.yaml:2", "U+0000"), b"system: classify\nname: a\x00b\n"),
    # which recipe, which system
    Broken("missing file", ("r.yaml", "there is no such file", "tunelet recipes"), None),
    Broken("folder instead of a file", ("r.yaml", "found a folder"), None, folders=("r.yaml",)),
    arguments("unknown recipe", "run emotoin", "no recipe 'emotoin'", "did you mean 'emotion'?", "emotion-quick"),
    arguments("unknown recipe to print", "recipes emotoin", "'emotoin'", "did you mean 'emotion'?"),
    arguments("printing a file", "recipes r.yaml", "'r.yaml'", "Available: adapt-lm, emotion"),
    recipe("no system", "name: mine\n", "r.yaml:1: system", "expected the key 'system'", "tunelet recipes"),
    swapped("unknown system", "classify", "clasify", "r.yaml:1: system", "did you mean 'classify'?"),
    swapped(
        "system is a list", "classify", "[classify]", "r.yaml:1: system", "Available: adapt-lm, classify, fuse, rescore"
    ),
    swapped("no name", "name: mine\n", "", "name: this key is missing"),
    swapped("a path as name", "name: mine", "name: ../../etc", "r.yaml:2: name", "expected letters"),
    # keys
    added("unknown top key", "epochs: 3", "r.yaml:8: epochs", "unknown key", "Allowed: system, name"),
    swapped("misspelt section", "training:", "trainning:", "r.yaml:4: trainning", "did you mean 'training'?"),
    swapped("misspelt nested key", "  epochs: 1", "  epoch: 1", "r.yaml:5: training.epoch", "did you mean 'epochs'?"),
    swapped("misspelt deeper key", "{size: 16}", "{siz: 16}", "r.yaml:6: training.batch.siz", "did you mean 'size'?"),
    added("misspelt data key", "tuning: {rank: 4}", "r.yaml:8: tuning.rank", "Allowed: method, targets, layers, r"),
    # values
    swapped("text for a number", "epochs: 1", "epochs: many", "r.yaml:5: training.epochs", "number, found 'many'"),
    swapped("boolean for a number", "epochs: 1", "epochs: true", "r.yaml:5: training.epochs", "found True"),
    swapped("list for a number", "epochs: 1", "epochs: [1]", "r.yaml:5: training.epochs", "found [1]"),
    swapped("not a number", "epochs: 1", "epochs: .nan", "r.yaml:5: training.epochs", "finite number"),
    swapped("endless digits", "epochs: 1", "epochs: " + "9" * 5000, "r.yaml:5: training.epochs", "finite number"),
    swapped("number for a section", "{size: 16}", "5", "r.yaml:6: training.batch", "found 5"),
    swapped("null for a section", "{source: embedded}", "", "r.yaml:3: data", "found None"),
    swapped("half an example", "size: 16", "size: 2.5", "r.yaml:6: training.batch.size", "found 2.5"),
    swapped("zero epochs", "epochs: 1", "epochs: 0", "r.yaml:5: training.epochs", "greater than 0"),
    added("negative learning rate", "tuning: {lora_plus_ratio: -1}", "r.yaml:8: tuning.lora_plus_ratio", "found -1"),
    added("unknown method", "tuning: {method: lorra}", "r.yaml:8: tuning.method", "'lora'", "found 'lorra'"),
    added("unknown target", "tuning: {targets: atention}", "r.yaml:8: tuning.targets", "did you mean 'attention'?"),
    swapped("unknown source", "embedded", "cloud", "r.yaml:3: data.source", "'embedded'", "found 'cloud'"),
    swapped("no seeds", "[1]", "[]", "r.yaml:7: seeds", "at least 1 item"),
    swapped("a seed twice", "[1]", "[1, 2, 1]", "r.yaml:7: seeds", "expected different seeds"),
    swapped("one seed as number", "[1]", "1", "r.yaml:7: seeds", "found 1"),
    swapped("a text as seed", "[1]", "[1, x]", "r.yaml:7: seeds[1]", "integer", "found 'x'"),
    # runs
    added("runs is a mapping", "runs: {name: a}", "r.yaml:8: runs", "expected a list of blocks, each with a name"),
    added("runs is empty", "runs: []", "r.yaml:8: runs", "expected a list of blocks, each with a name"),
    added("block is a text", "runs: [lora]", "r.yaml:8: runs[0]", "expected a block with a name"),
    added("block without a name", "runs:\n  - tuning: {r: 2}", "r.yaml:9: runs[0]", "expected a block with a name"),
    added("unknown key in a block", "runs:\n  - name: a\n    tunning: {}", "r.yaml:10: runs[0].tunning", "'tuning'?"),
    added("wrong value in a block", _GROUPS.replace("2", "0"), "r.yaml:10: tuning.r", "greater than or equal to 1"),
    added("two groups of one name", _GROUPS.replace("b", "a"), "r.yaml:8: runs", "two groups are called 'a'"),
    added("group that names no folder", _GROUPS.replace("b", "a/b"), "r.yaml:8: runs", "'a/b' cannot name a folder"),
    added(
        "grid over seeds", "runs:\n  - name: a\n    grid: {seeds: [1]}", "r.yaml:10: runs[0].grid.seeds", "dotted key"
    ),
    added("grid of one value", "runs:\n  - name: a\n    grid: {tuning.r: 2}", "r.yaml:10", "list of values, found 2"),
    added("grid as list", "runs:\n  - name: a\n    grid: [1]", "r.yaml:10: runs[0].grid", "expected a mapping"),
    added(
        "grid with a wrong value", "runs:\n  - name: a\n    grid: {tuning.r: [2, 0]}", "r.yaml:10: tuning.r", "found 0"
    ),
    # overrides
    override("no value", "training.epochs", "-o training.epochs", "expected key=value", "-o training.epochs=1"),
    override("no key", "=3", "-o =3", "expected key=value", "-o training.epochs=1"),
    override("an empty part", "training..epochs=3", "-o training..epochs=3", "expected key=value"),
    override("open bracket", "seeds=[1,2", "-o seeds=[1,2:1", "not YAML"),
    override("through a value", "seeds.first=1", "-o seeds.first=1", "not a section"),
    override("unknown override", "training.epoch=3", "-o training.epoch=3: training.epoch", "did you mean 'epochs'?"),
    override("negative rate", "training.learning_rate=-1", "-o training.learning_rate=-1", "greater than 0, found -1"),
    override("betas", "training.betas=[0.9,1.5]", "-o training.betas=[0.9,1.5]: training.betas", "numbers in [0, 1)"),
    override("three betas", "training.betas=[0.9,0.9,0.9]", "training.betas", "at most 2 items"),
    override("never evaluated", "training.evaluate_every=0", "training.evaluate_every", "at least 1, or 'epoch'"),
    override("section as number", "training=5", "-o training=5: training", "found 5"),
    override("rank above", "tuning={method: adalora, r: 8, adalora: {initial_rank: 8}}", "tuning", "above r = 8"),
    # arguments
    arguments("unknown command", "trian emotion", "No such command 'trian'"),
    arguments("unknown option", "run r.yaml --epochs 3", "No such option: --epochs"),
    arguments("no recipe", "run", "Missing argument 'RECIPE'"),
    arguments("nothing to check", "check", "RECIPE", "--schema"),
    arguments("option without value", "run r.yaml --out", "--out", "requires an argument"),
    arguments("no group matches", "run r.yaml --only full", "--only 'full'", "groups: lora"),
    arguments("no run matches", "run r.yaml --only *-seed77", "no run matches --only '*-seed77'", "runs: lora-seed1"),
    arguments("missing data folder", "run r.yaml --data nowhere", "nowhere: --data", "does not exist", "relative path"),
    arguments("missing data folder, check", "check r.yaml --data nowhere", "nowhere: --data", "does not exist"),
    arguments("a file as data folder", "run r.yaml --data r.yaml", "r.yaml: --data", "folder"),
    arguments("empty data folder", "run r.yaml --data d", "d:", "train.jsonl", folders=("d",)),
    arguments("texts twice", "predict adapter hello --file in.txt", "both texts and --file", "give one of them"),
    arguments("missing adapter", "predict nowhere hello", "nowhere: no such folder", "that a run printed"),
    arguments("missing file of texts", "predict a --file in.txt", "in.txt: cannot be read: No such", folders=("a",)),
    arguments("a text field that no row has", "predict a --file r.yaml", "r.yaml", ".jsonl", folders=("a",)),
    arguments("batch of none", "predict adapter hello --batch-size 0", "--batch-size", "greater than or equal to 1"),
    arguments("unknown benchmark", "bench speeed", "unknown benchmark 'speeed'", "Available:"),
    arguments("report of nothing", "report nowhere", "nowhere", "result.json"),
)


def give_all() -> dict[str, object]:
    """Give every case to the command line, in folders of its own."""
    statuses: dict[str, int] = {}
    imported: dict[str, list[str]] = {}
    before: set[str] = set()
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            case.prepare(Path(folder))
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                statuses[case.name] = main(case.arguments)
        now = {"torch", "transformers", "peft", "accelerate"} & sys.modules.keys()
        if now - before:
            imported[case.name] = sorted(now - before)
            before = now
    return {"statuses": statuses, "imported": imported}


if __name__ == "__main__":
    os.environ.pop("TUNELET_DATA", None)
    json.dump(give_all(), sys.stdout)
