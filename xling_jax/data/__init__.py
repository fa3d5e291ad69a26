"""Data: readers of raw examples, tokenizers with character offsets, formats, batches."""
