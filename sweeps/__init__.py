"""A spec becomes configurations, packs and trials; Ray lives in one file here. No SQL, no HTTP."""
