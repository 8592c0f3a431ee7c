"""Training: the one loop, cohorts, batching, optimizers, checkpoints, meters."""
