"""Where the variance is: intraclass correlations, R², design effects."""
