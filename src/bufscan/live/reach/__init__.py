"""What a model holds, registered or not, where, and the facts that are measured on it."""
