"""The roofline: FLOP per byte, and points that lie where they were measured."""

from __future__ import annotations

import pytest

from tunelet.cli.bench import load

roofline = load("common.roofline")


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "size", "expected"),
    [(1, 2, 3, 4, 12 / 44), (1, 2, 3, 2, 12 / 22), (4096, 384, 1536, 4, 142.88)],
)
def test_flop_per_byte(rows: int, inputs: int, outputs: int, size: int, expected: float) -> None:
    assert roofline.intensity(rows, inputs, outputs, size) == pytest.approx(expected, rel=1e-3)


def test_more_rows_are_more_flop_per_byte_and_both_types_are_measured() -> None:
    found = roofline.measure(0.001)
    assert found["bandwidth"] > 0
    for kind in ("fp32", "bf16"):
        assert [point["rows"] for point in found[kind]] == list(roofline.ROWS)
        places = [point["flop_per_byte"] for point in found[kind]]
        assert places == sorted(places) and all(point["flops_per_second"] > 0 for point in found[kind])
