"""What Python source says of its modules and their tensors. Nothing is imported or run."""
