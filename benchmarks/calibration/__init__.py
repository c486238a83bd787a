"""Calibration: posteriors on average over the prior, and how often intervals hold the truth."""
