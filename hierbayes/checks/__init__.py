"""Is the model right? Diagnostics, residuals, influence, priors, replicates, in numbers and in words."""
