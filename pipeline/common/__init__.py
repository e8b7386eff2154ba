"""What the stages share: settings, errors, files and provenance."""
