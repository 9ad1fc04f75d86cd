"""Why a model decided so: attributions, a second opinion, what would change it, and words for customers."""
