"""The copy head and the matching term against loops over single numbers."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import cosine_similarity

from tunelet.models.prefix.heads import NEVER, CopyHead, Learned, Matching


def test_a_learned_number_starts_where_it_is_told() -> None:
    number = Learned(3.0, tempo=4.0)
    number.start(-0.5)
    assert number().item() == -0.5 and number.value.requires_grad


def test_the_copy_head_is_a_log_sum_over_occurrences() -> None:
    torch.manual_seed(1)
    head = CopyHead(4, scale=3.0)
    torch.nn.init.normal_(head.query)
    torch.nn.init.normal_(head.key)
    slots, states = torch.randn(2, 4), torch.randn(2, 5, 4)
    labels = torch.tensor([[0, 1, 0, 2, 1], [2, 2, 0, -1, -1]])
    found = head(slots, states, labels, classes=4)
    for row in range(2):
        for label in range(4):
            scores = [
                3.0 * cosine_similarity(head.query @ slots[row], head.key @ states[row, o], dim=0).item()
                for o in range(5)
                if labels[row, o] == label
            ]
            expected = math.log(sum(map(math.exp, scores))) if scores else NEVER
            assert math.isclose(found[row, label].item(), expected, rel_tol=1e-4)


def test_matching_is_a_cosine_and_a_kernel() -> None:
    head = Matching()
    definitions = torch.tensor([[0.1, 0.5, 0.0], [0.2, 0.4, 0.3]])
    cosines = torch.tensor([[0.7, 0.3], [0.6, 0.0]])
    shown = torch.tensor([[[1, 0, 0], [0, 1, 0]], [[1, 1, 0], [0, 0, 0]]]).bool()
    there = torch.tensor([[True, True], [True, False]])
    named, trust = torch.tensor([[0.9, 0.0, 0.2], [0.1, 0.8, 0.1]]), torch.tensor([0.05, -0.01])
    found = head(definitions, named, trust, cosines, shown, there, torch.tensor([False, True]))
    steep, enough = head.steepness().exp().item(), head.enough().item()
    share = [1 / (1 + math.exp(-steep * (one - enough))) for one in (0.05, -0.01)]
    assert share[0] > 0.8 and share[1] < 0.05

    def both(row: int, label: int) -> float:
        return (1 - share[row]) * definitions[row, label].item() + share[row] * named[row, label].item()

    a, b, g = (p().exp().item() for p in (head.definition, head.demonstration, head.sharpness))
    floor, level = head.floor().item(), head.level().item()

    def kernel(values: list[float]) -> float:
        return math.log(math.exp(g * floor) + sum(math.exp(g * value) for value in values))

    single = [a * both(0, label) + b * kernel(shown) for label, shown in enumerate(([0.7], [0.3], []))]
    several = [
        a * both(1, 0) + b * (kernel([0.6]) - kernel([])),
        a * both(1, 1) + b * (kernel([0.6]) - kernel([])),
        a * both(1, 2) + b * (kernel([]) - kernel([0.6])),
    ]
    torch.testing.assert_close(found, torch.tensor([[*single, a * level], [*several, a * level]]), rtol=1e-4, atol=1e-4)


def test_without_demonstrations_only_definitions_count() -> None:
    head = Matching()
    definitions = torch.rand(2, 3)
    nothing = torch.zeros(2, 1), torch.zeros(2, 1, 3).bool(), torch.zeros(2, 1).bool()
    found = head(definitions, definitions, torch.zeros(2), *nothing, torch.tensor([False, True]))
    best = found[:, :-1].softmax(1)
    torch.testing.assert_close(best, (head.definition().exp() * definitions).softmax(1))
