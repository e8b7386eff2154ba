"""What pictures share: the classes' colours, and attention drawn on an image."""
