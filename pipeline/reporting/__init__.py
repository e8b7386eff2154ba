"""From the small files that the runs left to tables."""
