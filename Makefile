# `make demo`, `make test`, `make check` and `make lock` work from any folder: make -C PATH demo.
MAKEFLAGS += --no-print-directory
here := $(shell cd "$$(dirname "$(lastword $(MAKEFILE_LIST))")" && pwd)
python := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test check lock venv

help:
	@echo "make demo   run the portal on this machine: http://127.0.0.1:8000 (PORT=8001 make demo for another port)"
	@echo "make test   run every test that this machine can run"
	@echo "make check  format, lint, types, layers, templates, migrations, deployment"
	@echo "make lock   compile requirements.lock anew from pyproject.toml"

demo: venv
	@cd "$(here)" && exec $(python) manage.py demo

test: venv
	@cd "$(here)" && exec $(python) -m tests $(ARGS)

check: venv
	@cd "$(here)" && exec $(python) -m tests.check

# The virtual environment is made anew when the lock, the interpreter or the folder has changed. The stamp is
# written last, so an interrupted installation is never taken for a whole one.
venv:
	@cd "$(here)" && \
	for name in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    >/dev/null 2>&1; then found="$$name"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11, 3.12 or 3.13 with its venv module is needed (Debian: apt-get install python3 python3-venv)." >&2; \
	  exit 1; \
	fi; \
	stamp="$$("$$found" -c 'import sys; print(sys.version, sys.base_prefix)'; cksum requirements.lock; pwd)"; \
	if [ -x $(python) ] && [ "$$stamp" = "$$(cat .venv/stamp 2>/dev/null)" ]; then exit 0; fi; \
	echo "Installing the packages of requirements.lock into .venv (once; a minute or two) …"; \
	rm -f .venv/stamp && "$$found" -m venv --clear .venv && \
	$(python) -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes \
	  -r requirements.lock && \
	printf '%s\n' "$$stamp" > .venv/stamp

lock: venv
	@cd "$(here)" && { $(python) -m uv --version >/dev/null 2>&1 || $(python) -m pip install --quiet uv; } && \
	$(python) -m uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" --quiet \
	  -o requirements.lock
