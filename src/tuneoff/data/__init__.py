"""From rows to what the engine trains on: splits, leaks, token cache, batches."""
