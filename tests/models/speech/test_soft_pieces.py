"""The head over word pieces: what it hears as vectors, its targets, and that it learns."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tunelet.models.speech import soft_pieces
from tunelet.models.speech.protocol import SpeechFeatures, drawing
from tunelet.models.speech.small import SmallSettings
from tunelet.models.speech.soft_pieces import SoftPieces

TINY = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5, dropout=0.0)
IDS = [7, 3, 5]


def head(layers: int = 1, ids: list[int] | None = None) -> SoftPieces:
    with drawing(1, "head"):
        return SoftPieces(TINY, ids or IDS, layers=layers)


class Given(SoftPieces):
    """A head that says what it is told."""

    scores_: torch.Tensor

    def forward(self, heard: SpeechFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores_, heard.lengths


def given_scores(scores: torch.Tensor) -> tuple[Given, SpeechFeatures]:
    made = Given(TINY, IDS)
    made.scores_ = scores
    frames = torch.full((len(scores),), scores.shape[1])
    return made, SpeechFeatures(torch.zeros(len(scores), scores.shape[1], 16), frames, 25.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=14))
@examples(max_examples=60, deadline=None)
def test_sure_symbols_give_the_embeddings_of_the_pieces_that_were_heard(symbols: list[int]) -> None:
    table = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    made, heard = given_scores(60.0 * torch.nn.functional.one_hot(torch.tensor([symbols]), 4).float())
    said = [symbol for symbol, _ in itertools.groupby(symbols) if symbol]
    assert made.tokens(heard) == [[IDS[s - 1] for s in said]]
    vectors = made.vectors(heard, table)[0]
    if said:
        torch.testing.assert_close(vectors, table[[IDS[s - 1] for s in said]])
    else:  # silence has one vector, so that there is something in the place of the words
        assert vectors.shape == (1, 6) and bool(torch.isfinite(vectors).all())


def test_a_doubtful_piece_is_a_mixture_with_a_gradient() -> None:
    scores = torch.log(torch.tensor([[[0.2, 0.5, 0.3, 1e-9], [0.2, 0.3, 0.5, 1e-9], [0.9, 0.05, 0.05, 1e-9]]]))
    scores.requires_grad_()
    made, heard = given_scores(scores)
    table = torch.eye(9)
    first, second = made.vectors(heard, table)[0]
    assert first[[7, 3]].tolist() == pytest.approx([0.625, 0.375]) and second[[7, 3]].tolist() == pytest.approx(
        [0.375, 0.625]
    )
    first[7].backward()
    assert scores.grad is not None and scores.grad.abs().sum() > 0


def test_a_clip_gives_the_same_alone_and_in_a_batch() -> None:
    made = head().eval()
    features = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(2))
    features[1, 7:] = 0.0
    both = SpeechFeatures(features, torch.tensor([12, 7]), 25.0)
    alone = SpeechFeatures(features[1:, :7], torch.tensor([7]), 25.0)
    table = torch.randn(9, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(made.vectors(both, table)[1], made.vectors(alone, table)[0])


@pytest.mark.parametrize(
    ("tokens", "frames", "found"),
    [
        ([7, 3], 4, [1, 2]),
        ([7, 7], 4, None),  # a blank has to stand between
        ([7, 7], 5, [1, 1]),
        ([7, 4], 20, None),  # 4 was cut away
        ([], 20, None),
    ],
)
def test_targets(tokens: list[int], frames: int, found: list[int] | None) -> None:
    assert head().targets(tokens, frames) == found


def test_texts_without_targets_teach_nothing() -> None:
    made = head()
    heard = SpeechFeatures(torch.randn(2, 8, 16), torch.tensor([8, 8]), 25.0)
    assert made.ctc_loss(heard, [None, None]).item() == 0.0
    torch.testing.assert_close(
        made.ctc_loss(heard, [None, [2, 1]]),
        made.ctc_loss(SpeechFeatures(heard.features[1:], heard.lengths[1:], 25.0), [[2, 1]]),
    )


@examples(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 99))
def test_the_loss_is_ctc_over_all_pieces_and_so_is_its_gradient(targets: list[list[int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(len(targets), 9, 41, generator=draw, dtype=torch.float64, requires_grad=True)
    frames = torch.randint(8, 10, (len(targets),), generator=draw)
    joined, sizes = torch.tensor(list(itertools.chain(*targets))), torch.tensor([len(target) for target in targets])
    wanted = torch.nn.functional.ctc_loss(scores.log_softmax(-1).transpose(0, 1), joined, frames, sizes)
    found = soft_pieces._ctc(scores, targets, frames)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, scores), torch.autograd.grad(wanted, scores))


@pytest.mark.parametrize("ids", [[], [3, 3]])
def test_wrong_pieces_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="different token ids"):
        SoftPieces(TINY, ids)


def test_it_learns_to_write_pieces() -> None:
    made = head(layers=0)
    features = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(4))
    heard, targets = SpeechFeatures(features, torch.tensor([16, 16]), 25.0), [[1, 2], [3, 1, 2]]
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-2)
    for _ in range(40):
        loss = made.ctc_loss(heard, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert made.tokens(heard) == [[7, 3], [5, 7, 3]]
