"""Predicting rows of known and of new clusters: a scikit-learn regressor, and cross-validation of any predictors."""
