"""What keeps sweeps running: the scheduler, its runner processes, the local Ray cluster."""
