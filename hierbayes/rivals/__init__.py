"""Several methods on the same folds, for rows of known and of new clusters: `cross_validate`.

Also the mixed model as a regressor of scikit-learn: `MixedRegressor`. Scores of one posterior (loo, logo, lfo, kfold,
compare) are in `hierbayes.cross_validation`.
"""
