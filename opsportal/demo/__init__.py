"""Demo people and real demo data, and the supervisor that runs everything on one machine."""
