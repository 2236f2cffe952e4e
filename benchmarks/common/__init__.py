"""What the benchmarks share: processes that stay alive, the peers, ours, and how work is counted."""
