"""What is printed of bufscan itself: rules, manual, settings, schemas."""
