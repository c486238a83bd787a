"""How well a model predicts what it has not seen: rows and groups left out in closed form, by weights, by refits.

Scores of one posterior: loo, logo, lfo, kfold, compare. Several methods on the same folds are in `hierbayes.rivals`.
"""
