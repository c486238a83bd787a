"""The only package that knows Bambi and formulae: formula and priors in, design and prior table out.

formulae parses the formula and evaluates the fixed effects and the columns of the random effects;
the group codes are taken here, so that no matrix of rows x groups is ever made. Bambi supplies
the family and the automatic priors of the fixed effects and of σ, and its rule for the standard
deviations of random effects, with one change: the scale for an intercept grows only with those
predictors that have a random slope on the same factor. (Bambi lets it grow with the mean of every
predictor, which for a `year` column is absurd.)

Where the syntax differs from Bambi's it is lme4's: ``(x | g)`` has a full covariance matrix and
``(x || g)`` none. Under ``||`` every column is on its own, those of a categorical predictor too
(as in brms; lme4 keeps those correlated).
"""
