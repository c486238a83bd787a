"""What may be concluded from a likelihood: tests, intervals, comparisons of nested models, simulations."""
