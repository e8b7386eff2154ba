"""Write and read the maps of a frozen backbone, which it computes once."""
