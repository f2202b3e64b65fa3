# Two commands on a fresh Debian or Ubuntu: make demo, make test. `make help` lists the others.
# PYTHON=... chooses the interpreter of .venv; the newest one from 3.11 on is taken otherwise.

python := .venv/bin/python
blender_scene := scenes/blender/harbour.blend
povray_scene := $(wildcard scenes/povray/*.ini)
scenes := $(blender_scene) $(povray_scene)

export PYTHON

.PHONY: help setup setup-tests demo test test-service test-all test-image test-cloud test-ffmpeg lint format pins bench clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \t\2/p' Makefile | expand -t 20

setup:  ## make .venv and install what rendering needs (BLENDERS="5.3 4.5": these Blenders too)
	@.ci/setup
	@$(if $(BLENDERS),$(python) -m renderfarm setup $(addprefix --blender ,$(BLENDERS)))

setup-tests:
	@.ci/setup tests

demo: setup  ## render both sample scenes and say where everything is
	@set -e; for scene in $(scenes); do $(python) -m renderfarm submit "$$scene"; done
	@for scene in $(scenes); do .ci/show "$$scene"; done

test: setup-tests  ## run the tests that need seconds
	@$(python) -m pytest -m "not slow and not service" -n 3 --dist worksteal $(ARGS)

test-service: setup-tests  ## run the local Batch service's own suite
	@$(python) -m pytest -m "not slow" -n 2 --dist worksteal tests/batch_service $(ARGS)

test-all: setup-tests  ## run all tests
	@$(python) -m pytest $(ARGS)

test-image: setup-tests  ## run the Dockerfile's steps in a fresh Debian (root, debootstrap, some minutes)
	@$(python) -m pytest tests/test_dockerfile.py $(ARGS)

test-cloud: setup-tests  ## run all tests of the cloud pool and of the local Batch service, the long ones included
	@$(python) -m pytest tests/test_azure_*.py tests/batch_service $(ARGS)

test-ffmpeg: setup-tests  ## run the film tests with the ffmpeg on PATH, 7.0.2 and 9.0.2
	@.ci/test-ffmpeg $(ARGS)

lint: setup  ## ruff and mypy --strict
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy

format: setup  ## let ruff format everything and mend what it can
	@$(python) -m ruff format .
	@$(python) -m ruff check --fix .

pins:  ## look for newer versions of what set-up installs, and pin them with their checksums
	@.ci/pin

bench: setup-tests  ## measure speed against the plain renderers (ARGS=--quick for a few minutes)
	@$(python) -m benchmarks $(ARGS)

clean:  ## remove .venv, caches, sample renders and benchmark scenes
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis renders benchmarks/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
