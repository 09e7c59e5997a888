"""The elements of a target's tensors, read piece by piece from wherever they lie. Judges nothing."""
