"""The commands, one file each: options in, an `Outcome` out. They print nothing; `cli` does."""
