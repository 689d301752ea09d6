"""Every table and figure of the sources, drawn from the record, the published values beside ours."""
