"""Which examples form the next batch: shuffled, texts of like length together, resumable. Not here: tensors.

Batches of texts that are about equally long waste little on padding. An epoch is shuffled as a whole and cut into
pools of `pool_batches` batches; each pool is sorted by length and cut into batches; then all batches are shuffled.
The order is a function of (seed, epoch) alone, so a saved position is enough to go on exactly.

Example:
    >>> import numpy as np
    >>> batches = LengthBucketBatches(np.array([3, 9, 4, 8]), batch_size=2, seed=1)
    >>> sorted(sorted(batches.next().tolist()) for _ in range(batches.batches_per_epoch))
    [[0, 2], [1, 3]]
    >>> batches.epoch
    1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelet.base.errors import ResumeError
from tunelet.base.files import sha256_bytes
from tunelet.base.streams import numpy_stream

Indices = NDArray[np.int64]


class LengthBucketBatches:
    """An endless sequence of batches; every example comes exactly once in an epoch.

    Args:
        lengths: (N,) tokens of each example, N >= 1.
        batch_size: examples in a batch; the last batch of a pool may be smaller, which happens once an epoch.
        seed: of the run; the stream is (seed, "batches", epoch).
        pool_batches: batches that are sorted together. 1 shuffles without regard to length.
        shuffle: False keeps the order of the examples, but for the sorting within pools, in every epoch.
        tokens: batches of so many tokens, padding included, in place of `batch_size` examples: short texts come in
            larger batches than long ones. The whole epoch is one pool then. A longer text is a batch of its own.

    Attributes:
        batches_per_epoch: ceil(N / batch_size), or what `tokens` gives; the same in every epoch.
    """

    batches_per_epoch: int

    def __init__(
        self,
        lengths: NDArray[np.integer[Any]] | Sequence[int],
        batch_size: int,
        seed: int,
        *,
        pool_batches: int = 100,
        shuffle: bool = True,
        tokens: int | None = None,
    ) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        if self._lengths.ndim != 1 or not len(self._lengths):
            raise ValueError(f"lengths must be a list of at least one number, not of shape {self._lengths.shape}")
        if tokens is not None and tokens < 1:
            raise ValueError(f"tokens must be at least 1, not {tokens}")
        if batch_size < 1 or pool_batches < 1:
            raise ValueError(f"batch_size and pool_batches must be at least 1, not {batch_size} and {pool_batches}")
        self._identity: dict[str, Any] = {
            "examples": len(self._lengths),
            "lengths_sha256": sha256_bytes(self._lengths.astype("<i8").tobytes()),
            "batch_size": batch_size,
            "seed": seed,
            "pool_batches": pool_batches,
            "shuffle": shuffle,
            "tokens": tokens,
        }
        self._batch_size = batch_size
        self._seed = seed
        self._tokens = tokens
        self._pool = pool_batches * batch_size if tokens is None else len(self._lengths)
        self._shuffle = shuffle
        self._epoch, self._position = 0, 0
        self._plan = self._planned(0)
        self.batches_per_epoch = len(self._plan)

    @property
    def epoch(self) -> int:
        """The epoch, from 0, that the next batch belongs to; equally the number of epochs that are complete."""
        return self._epoch

    @property
    def position(self) -> int:
        """The next batch's position in its epoch, from 0."""
        return self._position

    def next(self) -> Indices:
        """(B,) positions of the examples of the next batch."""
        batch = self._plan[self._position]
        self._position += 1
        if self._position == self.batches_per_epoch:
            self._epoch, self._position = self._epoch + 1, 0
            self._plan = self._planned(self._epoch)
        return batch

    __next__ = next

    def __iter__(self) -> Iterator[Indices]:
        return self

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, and what it is a sequence of; plain JSON."""
        return {"epoch": self._epoch, "position": self._position, **self._identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ResumeError: a key is missing or unknown, the state is of other data or another batch size, or out of range.
        """
        expected = {"epoch", "position", *self._identity}
        if set(state) != expected:
            missing, unknown = sorted(expected - set(state)), sorted(set(state) - expected)
            raise ResumeError(f"the order of the examples cannot be restored: missing {missing}, unknown {unknown}")
        changed = [f"{k} was {state[k]!r}, is {v!r}" for k, v in self._identity.items() if state[k] != v]
        if changed:
            raise ResumeError(f"the saved order belongs to another run: {'; '.join(changed)}")
        epoch, position = state["epoch"], state["position"]
        whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (epoch, position))
        if not whole or epoch < 0 or not 0 <= position < self.batches_per_epoch:
            raise ResumeError(
                f"the saved order stands at epoch {epoch!r}, batch {position!r}, which an epoch of "
                f"{self.batches_per_epoch} batches does not have"
            )
        self._epoch, self._position = epoch, position
        self._plan = self._planned(epoch)

    def _planned(self, epoch: int) -> list[Indices]:
        count = len(self._lengths)
        stream = numpy_stream(self._seed, "batches", epoch)
        order = stream.permutation(count) if self._shuffle else np.arange(count)
        batches: list[Indices] = []
        for start in range(0, count, self._pool):
            pool = order[start : start + self._pool]
            # stable: texts of one length stay in their shuffled order
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches.extend(pool[begin:end] for begin, end in self._cuts(self._lengths[pool]))
        return [batches[i] for i in stream.permutation(len(batches))] if self._shuffle else batches

    def _cuts(self, lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Begin and end of each batch in a pool with these lengths, which rise."""
        if self._tokens is None:
            yield from ((i, min(i + self._batch_size, len(lengths))) for i in range(0, len(lengths), self._batch_size))
            return
        begin = 0
        for end in range(1, len(lengths) + 1):
            # lengths rise, so the last text of a batch is its width
            if end == len(lengths) or (end + 1 - begin) * int(lengths[end]) > self._tokens:
                yield begin, end
                begin = end


def in_order(lengths: NDArray[np.integer[Any]] | Sequence[int], batch_size: int) -> list[Indices]:
    """Batches for evaluation: every example once, sorted by length, the longest first.

    The longest first, so that a batch that does not fit into memory fails at once and not at the end.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class Padding:
    """Positions of padded batches, and how many of them hold a token."""

    tokens: int
    positions: int

    @property
    def share(self) -> float:
        """Share of the positions that are padding, from 0 to 1."""
        return 1 - self.tokens / self.positions if self.positions else 0.0


def padding(lengths: NDArray[np.integer[Any]] | Sequence[int], batches: Sequence[Indices]) -> Padding:
    """Count tokens and positions of batches that are padded to their longest text."""
    known = np.asarray(lengths, dtype=np.int64)
    tokens = sum(int(known[batch].sum()) for batch in batches)
    positions = sum(int(known[batch].max()) * len(batch) for batch in batches if len(batch))
    return Padding(tokens, positions)


def pad_waste(lengths: NDArray[np.integer[Any]] | Sequence[int], batches: Sequence[Indices]) -> float:
    """Share of the positions of padded batches that hold no token."""
    return padding(lengths, batches).share
