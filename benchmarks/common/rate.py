"""How fast this machine multiplies large matrices: the peak that a share of peak is a share of.

Not the processor's data sheet: what the same torch, with the same threads, in the same process, reaches right then.

Example:
    >>> matmul_rate(torch.float32, 0.01, size=64) > 0
    True
"""

from __future__ import annotations

import statistics
import time

import torch


def matmul_rate(dtype: torch.dtype, seconds: float, *, size: int | None = None) -> float:
    """Median rate of a square product, in FLOP/s (a multiplication and an addition are two).

    Args:
        dtype: of both factors.
        seconds: for how long to repeat it; at least three times.
        size: rows and columns; None: 2048, on CUDA 8192.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    n = size or (8192 if cuda else 2048)
    left, right = torch.randn(n, n, device=device).to(dtype), torch.randn(n, n, device=device).to(dtype)
    right = right.t()  # as a linear layer has its weight, which is the faster layout
    out = torch.empty(n, n, dtype=dtype, device=device)
    times: list[float] = []
    torch.mm(left, right, out=out)
    while sum(times) < seconds or len(times) < 3:
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2.0 * n**3 / statistics.median(times)
