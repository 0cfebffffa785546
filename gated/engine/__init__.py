"""What the tasks share of Lightning: training module, data module, run folder, checkpoints, report."""
