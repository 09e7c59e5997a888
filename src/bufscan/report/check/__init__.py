"""Reports of findings, in every format."""
