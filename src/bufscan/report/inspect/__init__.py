"""Reports of an inventory, in every format."""
