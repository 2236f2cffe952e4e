"""Which type a machine computes faster in: facts first, a measurement where they settle nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from tunelet.models import rates
from tunelet.models.rates import Rates, chosen_precision, faster_precision, native_bf16, product_rates


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    chosen_precision.cache_clear()
    yield
    chosen_precision.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, gain: float | None = None) -> None:
    """A machine with this /proc/cpuinfo and this measured gain; None: a measurement is an error."""

    def measured(seconds: float = 0.1, device: str = "cpu") -> Rates:
        if gain is None:
            raise AssertionError("the facts settle it")
        return Rates(1e9, gain * 1e9, device, 1)

    monkeypatch.setattr(rates, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(rates, "product_rates", measured)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name : X\nflags\t\t: fpu avx2 avx512_bf16\n", "bf16"),
        ("flags : fpu amx_bf16\n", "bf16"),
        ("flags : fpu avx2 sse\n", "fp32"),
        ("Features\t: fp asimd\n", "fp32"),
        ("model name : a bf16 avx512_bf16 wonder\nflags : fpu\n", "fp32"),
    ],
)
def test_flags_settle_it_without_a_measurement(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, expected: str) -> None:
    machine(monkeypatch, cpuinfo)
    assert faster_precision("cpu") == expected
    assert native_bf16() is (expected == "bf16")
    assert "bf16" in chosen_precision("cpu").reason


@pytest.mark.parametrize("cpuinfo", ["", "Features : fp asimd bf16\n"])
@pytest.mark.parametrize(("gain", "expected"), [(2.1, "bf16"), (1.3, "bf16"), (1.29, "fp32"), (0.1, "fp32")])
def test_where_flags_settle_nothing_a_clear_margin_does(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, gain: float, expected: str
) -> None:
    machine(monkeypatch, cpuinfo, gain)
    assert faster_precision("cpu") == expected
    assert f"{gain:.1f} times" in chosen_precision("cpu").reason


def test_a_choice_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "", 2.0)
    assert faster_precision("cpu") == "bf16"
    machine(monkeypatch, "", 0.5)
    assert faster_precision("cpu") == "bf16"


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_cuda_says_it_itself(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    machine(monkeypatch, "flags : fpu\n")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert faster_precision("cuda") == expected


def test_a_system_without_the_list_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "processor : 0\n")
    assert native_bf16() is None


def test_rates_are_work_over_the_median_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "SIZES", ((2, 3, 5),))
    # the end; then for each of three rounds: asked whether to go on, and start and end of fp32 and of bf16
    steps = [0.0]
    for fp32, bf16 in ((1.0, 4.0), (9.0, 2.0), (3.0, 90.0)):
        start = steps[-1]
        steps += [start, start + fp32, start + fp32, start + fp32 + bf16]
    clock = itertools.chain(steps, itertools.repeat(1e9))
    found = product_rates(0.0, clock=lambda: next(clock))
    assert (found.fp32, found.bf16) == (60 / 3, 60 / 4)
    assert found.gain == pytest.approx(0.75)
    assert (found.device, found.threads) == ("cpu", torch.get_num_threads())
