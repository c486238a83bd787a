"""The posterior integrated: log marginal likelihoods, Bayes factors, a posterior without a sampler."""
