"""Models that others published, in and out: between a folder as Hugging Face lays it out and a checkpoint of ours."""
