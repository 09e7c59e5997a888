"""Live modules: what registration did, measured. Imports torch inside functions only."""
