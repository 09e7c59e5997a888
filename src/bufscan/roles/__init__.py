"""Evidence to role: sharpens what a reader could only assume."""
