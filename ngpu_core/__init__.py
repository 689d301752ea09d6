"""The science: models, tasks, training and evaluation of Neural GPUs. Needs torch and numpy."""
