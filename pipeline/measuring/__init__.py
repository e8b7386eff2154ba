"""Time and memory of one computation at a time, each in a process of its own."""
