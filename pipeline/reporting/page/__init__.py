"""The page reports/index.html: its template, style sheet and script."""
