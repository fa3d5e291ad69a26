"""From published files to batches: read, tokenise, prepare once, feed many times."""
