"""Read params.yaml by a schema and rules between its values, and name every path."""
