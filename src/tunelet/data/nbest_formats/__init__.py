"""Formats of N-best lists, one file each: how one is read, and how it is written.

A reader yields `parts.Found` and reports what is wrong to a log; a writer gives bytes. Which format a path holds is
decided in `data.nbest_files`.
"""
