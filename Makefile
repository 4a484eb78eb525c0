# Everything that is done to orlop. `make help` lists the targets.

PYTHON ?= python3
REF ?=
SECONDS ?= 60
COUNT ?= 500
POINTS ?= 2000
INJECTIONS ?= 5000
STATES ?= 1000

BIN := .venv/bin
SOURCES := src tests bench demo tools examples fuzz

.PHONY: help demo test check format bench crash faults soak fuzz differential proto lock docs clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

# Two environments in one directory: what orlop needs, and what working on it needs too.
.venv/runtime: requirements.lock pyproject.toml tools/venv
	tools/venv $(PYTHON) requirements.lock
	@touch $@

.venv/development: requirements.lock requirements-dev.lock pyproject.toml tools/venv
	tools/venv $(PYTHON) requirements.lock requirements-dev.lock
	@touch $@ .venv/runtime

demo: .venv/runtime ## pull, mount and remove an image; REF=NAME takes it from its registry (root)
	@$(BIN)/python -m demo $(if $(REF),"$(REF)")

test: .venv/development ## check, then run all tests; as root installs the programs they run
	@tools/test-servers
	@$(MAKE) --no-print-directory check
	@tools/run-tests

check: .venv/development ## formatting, lint, types, direction of imports, generated code
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy --no-error-summary
	$(BIN)/mypy --no-error-summary tools examples
	$(BIN)/lint-imports
	tools/check-proto

format: .venv/development ## put the code in form
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/development ## pulls in turns with other programs, on fresh file systems (root; takes minutes)
	@tools/test-servers debootstrap podman
	$(BIN)/python -m bench.pull --all --chart docs/bench.svg
	$(BIN)/python -m bench.durability
	$(BIN)/python -m bench.limit --json .cache/bench/limit.json
	$(BIN)/python -m bench.download
	$(BIN)/python -m bench.scale --json .cache/bench/scale.json

crash: .venv/development ## kill, fail and cut the power of stores; POINTS=, INJECTIONS=, STATES=, SEED=N (root; takes hours)
	$(BIN)/python -m pytest tests/crash
	$(BIN)/python -m tests.crash.kills --points $(POINTS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.crash.errnos --injections $(INJECTIONS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.crash.sim $(if $(SEED),--seed $(SEED))
	for fs in ext4 xfs btrfs; do for rig in block clones; do \
	    $(BIN)/python -m tests.crash.cuts --rig $$rig --fs $$fs --states $(STATES) \
	        $(if $(SEED),--seed $(SEED)) || exit 1; \
	done; done

faults: .venv/development ## pull through COUNT=500 schedules of faults, the first SEED=N (root)
	$(BIN)/python -m tests.schedules --count $(COUNT) $(if $(SEED),--seed $(SEED))

soak: .venv/development ## the store against a model, and collections beside pulls; SEED=N (takes minutes)
	$(BIN)/python -m tests.property.gc_model --steps 20000 $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.property.gc_beside_pulls --rounds 200

fuzz: .venv/development ## search for bytes that break a parser; SECONDS=60 of each target
	$(BIN)/python -m fuzz --seconds $(SECONDS)

differential: .venv/development ## 10,000 archives by orlop, tar, bsdtar and umoci; SEED=N (root; takes minutes)
	$(BIN)/python -m tests.differential $(if $(SEED),--seed $(SEED))

proto: .venv/development ## generate the gRPC code
	tools/protoc

lock: .venv/development ## resolve the requirements, keep the locked versions; UPGRADE=1 takes new ones
	$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

docs: .venv/development ## write the pages that are made from the source
	$(BIN)/python tools/errors_page.py
	$(BIN)/python tools/config_page.py
	$(BIN)/python -m tests.hostile.page

clean: ## remove what can be made again
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .grimp_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
