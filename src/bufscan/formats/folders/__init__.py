"""Folders: which files make up a checkpoint, and one inventory of them all."""
