"""Reads YAML into plain data, remembers the line of every key, and writes such data.

Not here: what the keys mean (`base.recipe`).

Only what a recipe needs is accepted: mappings, lists, strings, numbers, booleans, null. Anchors and aliases are
refused (a few lines of them can stand for gigabytes), and so are tags, duplicate keys and keys that are not text.
Numbers follow YAML 1.2, so ``1e-3`` is a number; only ``true`` and ``false`` are booleans.

Example:
    >>> tree = read_yaml("training:\\n  epochs: 3\\n", "recipe.yaml")
    >>> tree.data, tree.line(("training", "epochs"))
    ({'training': {'epochs': 3}}, 2)
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tunelet.base.errors import Problem, RecipeError

Path = tuple[str | int, ...]
#: Recipes nest four levels; a file that goes deeper is a mistake or an attack.
MAX_DEPTH = 32


@dataclass(frozen=True)
class Tree:
    """Data of a YAML file with the line of each key and list item.

    Attributes:
        data: the plain data.
        lines: path of keys and indices -> line, from 1.
        file: name for messages.
        given: path -> the command-line override that set it; such a value has no line.
    """

    data: Any
    lines: dict[Path, int] = field(default_factory=dict)
    file: str = "<recipe>"
    given: dict[Path, str] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """Line of `path`, or of the nearest part of it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def problem(self, message: str, path: Path, *, hint: str | None = None) -> Problem:
        """A `Problem` at `path`: in the file with its line, or at the override that set the value."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.given:
                return Problem(message, self.given[path[:end]], None, dotted(path), hint)
            if path[:end] in self.lines:
                break
        return Problem(message, self.file, self.line(path), dotted(path) or None, hint)


def read_yaml(text: str, file: str) -> Tree:
    """Parse one YAML document.

    Raises:
        RecipeError: it does not parse, or holds what a recipe may not (of keys that are wrong, all at once).
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except _RefusedError as error:
        hint = "a recipe holds plain mappings, lists, texts, numbers, true, false and null"
        raise RecipeError(Problem(str(error), file, error.line, hint=hint)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            Problem(
                f"not YAML: {error.problem or error.context}",
                file=file,
                line=None if mark is None else mark.line + 1,
                hint="indent with spaces, and quote texts that hold ': ' or '#'",
            )
        ) from None
    except yaml.reader.ReaderError as error:  # characters that YAML does not allow, such as NUL
        line = text.count("\n", 0, error.position) + 1
        message = f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        raise RecipeError(Problem(message, file, line, hint="save the file as plain text in UTF-8")) from None
    if node is None:
        raise RecipeError(
            Problem("the file is empty", file=file, hint="see `tunelet recipes` for recipes to start from")
        )
    reader = _Reader(file)
    data = reader.read(node, ())
    if reader.problems:
        raise RecipeError(reader.problems)
    return Tree(data, reader.lines, file)


def write_yaml(data: Any) -> str:
    """Plain data as YAML that `read_yaml` reads as the same: a text that it would take for a number stands in quotes.

    PyYAML itself writes by YAML 1.1, in which ``08`` and ``1e-3`` are texts.
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _RefusedError(Exception):
    """YAML, but not what a recipe may hold."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, tags and depth while composing, before anything can grow."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"the alias *{event.anchor}: aliases are not allowed")
        if event.anchor is not None:
            self._refuse(event, f"the anchor &{event.anchor}: anchors are not allowed")
        # only here is a tag of the file told from one that the parser finds out: `!!int 3` from `3`
        if event.tag is not None:
            self._refuse(event, f"the tag {_as_written(event.tag)} is not allowed")
        if self.depth > MAX_DEPTH:  # the composer recurses
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def _refuse(self, event: Any, message: str) -> None:
        raise _RefusedError(message, event.start_mark.line + 1)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # what stands twice is written twice, for aliases are refused


def _quoted(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise TypeError(f"the composer gave a {type(node).__name__}")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a key must be a text")
                continue
            here = (*path, key)
            if key in data:
                first = self.lines[here]
                self._problem(key_node, here, f"the key stands twice; the first is in line {first}")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            data[key] = self.read(value_node, here)
        return data

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if node.style is not None:  # quoted or a block: a text, whatever it looks like
            return text
        return plain_scalar(text)

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        self.problems.append(Problem(message, self.file, node.start_mark.line + 1, dotted(path) or None))


#: 400 digits are beyond any float, and far below the length at which Python refuses to convert
_INTEGER = re.compile(r"[-+]?(?=[0-9_]{1,400}$)[0-9]+(_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None, ".nan": math.nan}
_WORDS |= {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}


def plain_scalar(text: str) -> Any:
    """The value of an unquoted YAML 1.2 scalar: null, boolean, integer, float, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _as_written(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!", 1)


def dotted(path: Path) -> str:
    """``("training", "seeds", 0)`` as ``training.seeds[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
