"""Problem generators: what a network is trained and tested on. Look tasks up in `registry`."""
