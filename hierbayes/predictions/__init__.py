"""What a fit says of rows: expected and new responses, for known, new or average groups, or over the population."""
