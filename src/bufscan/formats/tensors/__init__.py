"""Tensors: what the calls in a pickle would build, over storages whose sizes are checked."""
