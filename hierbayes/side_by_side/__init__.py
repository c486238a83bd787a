"""Both inferences in one table: what figures, reports and papers show of a maximum and of a posterior together."""
