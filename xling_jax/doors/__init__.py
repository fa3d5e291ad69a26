"""One door a verb: flags in, the layer that does the work, words out."""
