"""The sweep that has ended, for all tests of this folder."""

from toy_sweep import ended as ended
