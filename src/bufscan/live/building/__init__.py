"""From the name of a model to the model: the user's own code is imported and called, because they ask for it."""
