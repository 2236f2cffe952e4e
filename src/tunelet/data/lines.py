r"""Bytes to lines of text, with the number of each line. Not here: what a line means (`data.formats`).

Lines end at ``\n`` and nowhere else: `str.splitlines` would also cut at U+2028, U+0085 and others, which real texts
hold. A byte order mark is dropped; bytes that are not UTF-8 are told with their line and column, never replaced.

Example:
    >>> import io
    >>> log = ProblemLog("x")
    >>> [(line.number, line.text) for line in read_lines(io.BytesIO("\ufeffone\u2028still one\r\ntwo".encode()), log)]
    [(1, 'one\u2028still one'), (2, 'two')]
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from tunelet.base.errors import DataError, Problem
from tunelet.data.problems import ProblemLog as ProblemLog  # for the example above
from tunelet.data.problems import Report

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file.

    Attributes:
        number: from 1.
        text: without its line end.
        broken: whether the line has been reported and its text is not to be used.
    """

    number: int
    text: str
    broken: bool = False


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; one whose name ends in ``.gz`` is unpacked on the way.

    Raises:
        DataError: the file cannot be opened, or its name hides that it is (not) compressed.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below; opening alone is what this guards)
    except OSError as error:
        raise DataError(Problem(f"cannot be read: {error.strerror or error}", path)) from None
    with file:
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        if path.suffix != ".gz":
            if packed:
                raise DataError(
                    Problem("is compressed by gzip, but its name does not say so", path, hint="name it .gz")
                )
            yield file
        elif not packed:
            raise DataError(
                Problem("is named .gz, but it is not compressed by gzip", path, hint="drop .gz from its name")
            )
        else:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)


def read_lines(file: BinaryIO, report: Report) -> Iterator[Line]:
    """Yield every line of an open file, blank ones too; lines that cannot be used are reported and marked.

    Reading ends, with a report, where the bytes themselves end too early (a truncated gzip file).
    """
    number = 0
    lines = iter(file)
    while True:
        try:
            raw = next(lines)
        except StopIteration:
            return
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            where = f"after line {number}" if number else "before its first line"
            report.add(f"damaged gzip file: it breaks off {where} ({error})", hint="copy or download it again")
            return
        except OSError as error:
            report.add(f"cannot be read after line {number}: {error.strerror or error}")
            return
        number += 1
        if number == 1:
            if raw.startswith(_UTF16_BOMS):
                report.add("is encoded as UTF-16, expected UTF-8", hint="iconv -f UTF-16 -t UTF-8 OLD > NEW")
                return
            raw = raw.removeprefix(_BOM)
            if not raw:  # a byte order mark and nothing else
                continue
        yield _decode(raw.removesuffix(b"\n").removesuffix(b"\r"), number, report)


def _decode(raw: bytes, number: int, report: Report) -> Line:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        report.add(
            f"not UTF-8: byte 0x{raw[error.start]:02X} at column {error.start + 1}",
            line=number,
            hint="if the file is in the Windows or Latin-1 encoding: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
        )
        return Line(number, raw.decode("utf-8", errors="replace"), broken=True)
    if "\0" in text:
        report.add(
            f"holds a NUL character at column {text.index(chr(0)) + 1}",
            line=number,
            hint="the file is binary, UTF-16, or was not written to the end",
        )
        return Line(number, text.replace("\0", ""), broken=True)
    return Line(number, text)
