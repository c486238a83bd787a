"""What pooling does to every level, and where REML and the posterior disagree."""
