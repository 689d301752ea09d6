"""Every table and figure of the sources, drawn from the record, published values beside ours."""
