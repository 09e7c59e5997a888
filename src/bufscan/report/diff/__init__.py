"""Reports of a difference, in every format."""
