"""Several weights: never worse than the first pass, within bounds, the same every time, and right where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.evaluation.weight_search import combined, search_weights


def corpus(seed: int, lists: int = 200, features: int = 2) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """First-pass scores, features that know something of the errors, and the errors."""
    generator = np.random.default_rng(seed)
    errors = generator.integers(0, 5, (lists, 4))
    noise = generator.normal(size=(features + 1, lists, 4)) * 3
    base, *known = (-errors + part for part in noise)
    return (
        base,
        {f"f{k}": scale * part for k, (scale, part) in enumerate(zip([1.0, 20.0, 0.1], known, strict=False))},
        errors,
    )


def errors_with(
    base: np.ndarray, features: dict[str, np.ndarray], errors: np.ndarray, weights: dict[str, float]
) -> int:
    chosen = combined(base, features, weights).argmax(axis=1)
    return int(errors[np.arange(len(errors)), chosen].sum())


@given(st.integers(0, 30), st.integers(1, 3))
@settings(max_examples=15)
def test_it_finds_what_it_says_and_is_never_worse_than_the_first_pass(seed: int, count: int) -> None:
    base, features, errors = corpus(seed, 40, count)
    bounds = {"f0": (0.0, 2.0)}
    found = search_weights(base, features, errors, bounds, seed=1, restarts=2)
    assert found.errors == errors_with(base, features, errors, dict(found.weights)) == min(found.starts)
    assert found.errors <= found.errors_before == errors_with(base, features, errors, dict.fromkeys(features, 0.0))
    assert 0.0 <= found.weights["f0"] <= 2.0
    assert len(found.starts) == 3


def test_it_beats_the_best_of_many_random_weights() -> None:
    base, features, errors = corpus(7)
    found = search_weights(base, features, errors, {name: (0.0, np.inf) for name in features}, seed=1)
    generator = np.random.default_rng(0)
    tries = [{"f0": generator.uniform(0, 3), "f1": generator.uniform(0, 0.15)} for _ in range(3000)]
    assert found.errors <= min(errors_with(base, features, errors, weights) for weights in tries)
    assert found.errors < 0.8 * found.errors_before
    # the feature that is twenty times as large gets about a twentieth of the weight
    assert 0.3 < 20 * found.weights["f1"] / found.weights["f0"] < 3


def test_the_same_seed_finds_the_same_and_starts_are_used() -> None:
    base, features, errors = corpus(3)
    one, again = (search_weights(base, features, errors, seed=1, restarts=3) for _ in range(2))
    assert one == again and len(one.starts) == 4
    started = search_weights(base, features, errors, seed=1, restarts=0, starts=[one.weights])
    assert started.errors <= one.errors and len(started.starts) == 2
    assert started.to_json()["weights"] == dict(started.weights)


def test_padding_may_hold_anything() -> None:
    base, features, errors = corpus(4, 50)
    present = np.ones(base.shape, dtype=bool)
    present[::2, 3] = False
    clean = search_weights(base, features, errors, seed=1, present=present, restarts=1)
    base[::2, 3] = features["f0"][::2, 3] = np.nan
    assert search_weights(base, features, errors, seed=1, present=present, restarts=1) == clean


def test_a_useless_feature_leaves_the_first_pass_alone() -> None:
    base, _, errors = corpus(5)
    found = search_weights(base, {"none": np.zeros(base.shape)}, errors, seed=1)
    assert found.errors == found.errors_before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {}}, "no feature"),
        ({"bounds": {"f0": (1.0, 2.0)}}, "must hold 0"),
        ({"bounds": {"g": (0.0, 2.0)}}, r"\['g'\] are not among"),
        ({"starts": [{"h": 1.0}]}, r"\['h'\] are not among"),
        ({"features": {"f0": np.zeros((1, 1))}}, r"\(1, 1\)"),
    ],
)
def test_what_cannot_be_searched_is_refused(change: dict[str, object], message: str) -> None:
    base, features, errors = corpus(1, 10)
    options: dict[str, object] = {"base": base, "features": features, "errors": errors, "seed": 1, **change}
    with pytest.raises(InputError, match=message):
        search_weights(**options)  # type: ignore[arg-type]


def test_weights_and_features_have_the_same_names() -> None:
    with pytest.raises(InputError, match="weights for"):
        combined(np.zeros((1, 1)), {"a": np.zeros((1, 1))}, {"b": 1.0})
