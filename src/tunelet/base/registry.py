"""A table of named things that says what it holds when it is asked for something else.

Not here: entry points or dynamic imports. What a registry holds is imported by the module that owns it, so a
recipe can only name what the package knows.

Example:
    >>> shapes = Registry("shape")
    >>> @shapes.register("circle")
    ... def area(r): return 3.14 * r * r
    >>> shapes.get("circle")(1)
    3.14
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from tunelet.base.errors import InputError, Problem

T = TypeVar("T")


def suggest(name: str, options: Iterable[str]) -> str | None:
    """The option that `name` was probably meant to be, or None."""
    close = difflib.get_close_matches(name.lower(), {option.lower(): option for option in options}, n=1, cutoff=0.6)
    return next((option for option in options if option.lower() == close[0]), None) if close else None


def unknown_name(kind: str, name: str, options: Iterable[str]) -> str:
    """A sentence for a name that is not among `options`: the nearest one and all of them."""
    options = sorted(options)
    near = suggest(name, options)
    meant = f"; did you mean {near!r}?" if near else ""
    return f"unknown {kind} {name!r}{meant} Available: {', '.join(options) or 'none'}"


class Registry(Generic[T]):
    """Named things of one kind.

    Args:
        kind: what the things are called in messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a thing under `name`.

        Raises:
            ValueError: the name is taken (a mistake of the programmer, not of the user).
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self._entries[name]!r} and {entry!r}")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """The thing called `name`.

        Raises:
            InputError: there is none; the message names the nearest and all that exist.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise InputError(Problem(unknown_name(self.kind, name, self._entries))) from None

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
