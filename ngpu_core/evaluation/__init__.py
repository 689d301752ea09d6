"""What trained seeds can do: fresh sequences, carries, probes, ensembles, traces."""
