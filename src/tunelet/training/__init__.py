"""One loop for every system: batches in, steps out; checkpoints, early stopping, resources, tracking."""
