"""The parts that all stages share: errors, files, processes, provenance and progress."""
