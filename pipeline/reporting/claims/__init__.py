"""The paper's claims of reports/claims.yaml, tested on each experiment."""
