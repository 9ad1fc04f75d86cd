"""The portal's tests: `make test` runs them, `python -m tests --help` tells how to run a part."""
