"""The report's figures: what each shows as a frame, and how it is drawn."""
