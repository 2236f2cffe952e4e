"""A JSON file that is one list or one object, entry by entry, each with its line. Not here: JSON Lines (`formats`).

The json module forgets on which line a value stood; a user with 2,620 utterances in a file wants to know.

Example:
    >>> from tunelet.data.problems import ProblemLog
    >>> [(entry.line, entry.key, entry.value) for entry in entries('{"a": 1,\\n "b": [2]}', ProblemLog("x.json"))]
    [(1, 'a', 1), (2, 'b', [2])]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunelet.data.formats import described
from tunelet.data.problems import Report

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the outermost list or object.

    Attributes:
        line: on which it begins, from 1.
        key: its key in an object; None in a list.
        value: what it holds.
    """

    line: int
    key: str | None
    value: Any


class _Stop(Exception):
    """The text is not JSON from here on; it has been reported."""


class _Repeated(Exception):
    pass


def outermost(text: str) -> str:
    """The first character that counts: ``[``, ``{``, another one, or nothing."""
    return text[_SPACE.match(text).end() :][:1]  # type: ignore[union-attr]  # the pattern matches the empty string


def entries(text: str, report: Report) -> Iterator[Entry]:
    """Yield the entries of the outermost value; reading ends, with a report, where the text is not JSON."""
    reader = _Reader(text, report)
    try:
        yield from reader.entries()
    except _Stop:
        return


class _Reader:
    def __init__(self, text: str, report: Report) -> None:
        self.text, self.report = text, report
        self.decoder = json.JSONDecoder(object_pairs_hook=_unique)
        self.at = 0
        self.counted, self.line = 0, 1

    def entries(self) -> Iterator[Entry]:
        self.skip()
        opening = self.text[self.at : self.at + 1]
        if opening not in ("[", "{"):
            value = self.value()
            self.report.add(f"expected a JSON list or object, found {described(value)}", line=self.line_here())
            raise _Stop
        closing = "]" if opening == "[" else "}"
        self.at += 1
        self.skip()
        first = True
        while not self.text.startswith(closing, self.at):
            if not first:
                self.expect(",")
            line = self.line_here()
            key = None
            if opening == "{":
                key = self.value()
                if not isinstance(key, str):
                    self.fault("a key in quotes is expected")
                self.expect(":")
            yield Entry(line, key, self.value())
            self.skip()
            first = False
        self.at += 1
        self.skip()
        if self.at < len(self.text):
            hint = "one object on each line is JSON Lines: name the file .jsonl" if opening == "{" else None
            self.report.add("something follows after the end of the JSON value", line=self.line_here(), hint=hint)

    def value(self) -> Any:
        try:
            value, self.at = self.decoder.raw_decode(self.text, self.at)
        except _Repeated as error:
            self.report.add("the key occurs twice in one object", line=self.line_here(), field=str(error))
            raise _Stop from None
        except json.JSONDecodeError as error:
            self.at = error.pos
            self.fault(f"{error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            self.fault("nested too deeply" if isinstance(error, RecursionError) else str(error))
        return value

    def expect(self, mark: str) -> None:
        self.skip()
        if not self.text.startswith(mark, self.at):
            self.fault(f"expected {mark!r}" + ("" if self.at < len(self.text) else ", but the file ends here"))
        self.at += 1
        self.skip()

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def line_here(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def fault(self, message: str) -> None:
        self.report.add(f"not JSON: {message}", line=self.line_here())
        raise _Stop


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):  # the json module would keep the last one without a word
        keys = [key for key, _ in pairs]
        raise _Repeated(next(key for key in keys if keys.count(key) > 1))
    return values
