"""The method put together, over batches of queries: `pipeline.l2g` is the way in."""
