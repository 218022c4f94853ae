"""Many rows written without an object for each: read, checked, sent in batches, all or none."""
