"""Everything that knows Ray: a sweep's packs as Tune trials, and a local cluster."""
