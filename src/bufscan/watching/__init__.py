"""Models of a program that runs: noted when they are made, measured when they are complete, never changed."""
