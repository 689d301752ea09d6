"""What is fast, measured against what a user would otherwise write. Ratios, never timed tests."""
