"""A world in which sweeps are trained: a fake clock, a record in memory, and processes that die.

The record's functions and `reconcile` are the real ones; runners and workers are a few lines each.
A life is a list of numbers, each deciding one step, so that it can be repeated and shrunk.
"""
