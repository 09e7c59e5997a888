"""Pickles: the machine that runs them over inert values, what it makes, and the names that they mention."""
