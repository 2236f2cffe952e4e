"""The package's source, parsed: what the contract tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tunelet

PACKAGE = Path(tunelet.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """``.../tunelet/base/files.py`` as ``tunelet.base.files``."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path, package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """Line and module of every import of a file: at its top, in functions, under TYPE_CHECKING, by `importlib`."""
    own = module_of(path, package)
    around = (own if path.name == "__init__.py" else own.rpartition(".")[0]).split(".")
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(around[: len(around) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from tunelet import cli` names a layer only in what is imported
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("tunelet."):
            # a module that is imported by its name as a text, such as "tunelet.systems.classify"
            yield node.lineno, node.value.partition(":")[0]


def called(node: ast.Call) -> str:
    """What a call calls, as written: ``torch.load``, ``eval``; "" for what is no name."""
    parts: list[str] = []
    target: ast.expr = node.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    return ".".join([target.id, *reversed(parts)]) if isinstance(target, ast.Name) else ""
