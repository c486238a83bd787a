"""How well a model predicts what it has not seen: rows and groups left out in closed form, by weights, by refits."""
