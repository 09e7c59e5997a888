"""Files: one reader for each format, from its bytes to an inventory."""
