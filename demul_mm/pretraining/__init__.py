"""Pre-training of a small video backbone on the sentences of a moment retrieval data set."""
