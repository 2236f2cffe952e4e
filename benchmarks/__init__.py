"""Ours beside what one would use instead, measured in one run. `tunelet bench NAME` finds a benchmark by its file."""
