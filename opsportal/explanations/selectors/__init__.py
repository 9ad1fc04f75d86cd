"""Questions about predictions and their explanations, answered from rows alone."""
