"""From files and stores to the batches that stages read."""
