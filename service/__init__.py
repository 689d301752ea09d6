"""The rim: REST, dashboard, scheduler, client and command line. Knows both db and sweeps."""
