"""Write labels as Parquet. For workers only."""
