"""The dashboard: HTML pages over the named queries. It has no SQL of its own."""
