"""Pages about predictions and why they came out as they did."""
