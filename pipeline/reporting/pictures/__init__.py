"""The report's pictures: predictions, attention, and their colours."""
