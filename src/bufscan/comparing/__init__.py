"""What changed between two targets: names, shapes, types, roles, ties and every value."""
