"""Draw runs: from the prediction log or from files, seeded, streamed, each item with its probability."""
