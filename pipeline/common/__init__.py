"""What the stages share: settings, errors, files, provenance, tracking."""
