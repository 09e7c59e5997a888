"""Checkpoints: what the object in a pickle is made of, and the tensors that are collected from it."""
