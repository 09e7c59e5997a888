"""Readers: bytes to `Inventory`. They state what the artefact says and judge nothing; none imports torch."""
