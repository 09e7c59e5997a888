"""A checkpoint joined to the model it belongs to: exact roles, and what is missing, unexpected or different."""
