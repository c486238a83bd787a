"""The pooling ladder: one slope by every way of treating the groups, from ignoring them to partial pooling."""
