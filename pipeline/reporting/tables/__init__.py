"""One module for each kind of table: its frame, its columns and what stands below it."""
