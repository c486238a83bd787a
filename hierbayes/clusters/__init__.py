"""Traps of clustered data: what a correlation, a coefficient, an ICC or a weight means when rows come in groups."""
