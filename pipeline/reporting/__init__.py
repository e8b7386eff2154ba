"""The report: tables, claims, statistics, figures, pictures and the page, from reports/ alone."""
