# Everything a person or CI does here. On a fresh machine only make and a Python 3.11+ are needed: the first target
# that needs the environment brings a pinned uv into .tools/ and builds .venv/ from uv.lock. Start with `make help`.

VENV ?= $(or $(UV_PROJECT_ENVIRONMENT),.venv)
BIN := $(VENV)/bin
UV := .tools/bin/uv
SYNCED := $(VENV)/.synced
RUFF_PATHS := .
DASHED_SERVICES := $(foreach d,$(wildcard services/*),$(if $(findstring -,$(d)),$(d)))
TYPED_PATHS := conftest.py $(wildcard benchmarks/*.py) examples libs scripts tests $(filter-out $(DASHED_SERVICES),$(wildcard services/*))
# Servers share the machine with the tests: three workers keep two cores busy while one of them waits for a server.
PARALLEL := -n $(or $(WORKERS),3) --dist worksteal

export UV_PROJECT_ENVIRONMENT := $(VENV)
# Tests wait for conditions with deadlines; two cores shared by three workers and their servers need longer ones.
export YAOKI_PATIENCE ?= 3
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# uv keeps its cache where it always does; a user without a writable home gets one inside the project.
ifeq ($(UV_CACHE_DIR),)
home_cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
ifneq ($(shell for d in '$(home_cache)/uv' '$(home_cache)' '$(HOME)'; do [ -e "$$d" ] && { [ -w "$$d" ] && echo yes; break; }; done),yes)
export UV_CACHE_DIR := $(CURDIR)/.tools/cache/uv
endif
endif
# Where the machine has its own list of authorities, it may name a proxy that uv's built-in list does not know.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= true
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup tools fmt lint types docs test check demo up down bench chaos clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

setup: $(SYNCED) ## Build the environment, as every other target does by itself (HOOKS=1: the git hooks too)
	@# The hooks check format, lint, lock, secrets and the commit message.
	@$(if $(HOOKS),$(BIN)/pre-commit install --hook-type pre-commit --hook-type commit-msg)

tools: ## Bring servers that no wheel holds into .tools/ (NAME=haproxy); benchmarks bring theirs by themselves
	@python=$$(sh scripts/find_python.sh) && "$$python" scripts/fetch_tools.py $(NAME)

fmt: $(SYNCED) ## Format the code and repair what ruff can repair
	@$(BIN)/ruff format $(RUFF_PATHS)
	@$(BIN)/ruff check --fix $(RUFF_PATHS)

lint: $(SYNCED) ## Style, layers, lock file, changelog fragments, and generated documents that drifted
	@$(BIN)/ruff format --check $(RUFF_PATHS)
	@$(BIN)/ruff check $(RUFF_PATHS)
	@$(UV) lock --check --offline --quiet || { echo "uv.lock does not fit pyproject.toml: run .tools/bin/uv lock" >&2; exit 1; }
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/changelog.py check
	@$(BIN)/python scripts/adr_index.py --check
	@$(BIN)/python -m yaoki.docs --check

types: $(SYNCED) ## Check all types, tests and scripts included (mypy strict)
	@$(BIN)/mypy $(TYPED_PATHS)
	@# A folder with a dash is no module name for mypy, so each such service is checked on its own.
	@for service in $(DASHED_SERVICES); do $(BIN)/mypy $$service || exit 1; done

docs: $(SYNCED) ## Regenerate the documents and schemas that are generated
	@$(BIN)/python scripts/adr_index.py
	@$(BIN)/python -m yaoki.docs

# What tests need beyond wheels; a machine where these cannot run is told, and CI fails there.
TEST_TOOLS := haproxy age zstd faketime

test: $(SYNCED) ## Run the tests against real servers (ARGS="libs/common -k journal", WORKERS=1)
	@$(BIN)/python scripts/fetch_tools.py $(TEST_TOOLS) >/dev/null || echo "what needs $(TEST_TOOLS) is left out or fails" >&2
	@$(BIN)/python scripts/run_tests.py $(PARALLEL) -m "not chaos" $(ARGS)

check: ## What CI runs: lint, types, then the tests
	@$(MAKE) --no-print-directory lint types
	@$(MAKE) --no-print-directory test

demo: $(SYNCED) ## Lose a PostgreSQL primary and a Redis master under load; watch them being repaired
	@$(BIN)/python -m rescue $(ARGS)

up: $(SYNCED) ## Start the whole system on this machine and say what to type next
	@$(BIN)/yaoki up $(ARGS)

down: $(SYNCED) ## Stop what `make up` started
	@$(BIN)/yaoki down $(ARGS)

bench: $(SYNCED) ## Run a benchmark, or all of them (NAME=failover); one JSON line for each figure
	@for script in $(if $(NAME),benchmarks/$(subst -,_,$(NAME)).py,$(sort $(wildcard benchmarks/[a-z]*.py))); do \
	  test -f $$script || { echo "no benchmark $(NAME); there are: $(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))" >&2; exit 2; }; \
	  $(BIN)/python $$script $(ARGS) || exit 1; \
	done

chaos: $(SYNCED) ## Long random rounds: new examples for every property, faults on real servers (SEED=n, ROUNDS=10)
	@seed=$${SEED:-$$(date +%s)}; echo "seed $$seed (the same again: make chaos SEED=$$seed)"; \
	  export YAOKI_CHAOS_SEED=$$seed YAOKI_CHAOS_ROUNDS=$(or $(ROUNDS),10); \
	  $(BIN)/pytest $(PARALLEL) -m "hypothesis and not chaos" --hypothesis-seed=$$seed --timeout=3600 libs services $(ARGS) && \
	  $(BIN)/pytest tests/integration services -m chaos --log-cli-level=INFO $(ARGS)

clean: ## Remove what make built here: environment, tools, caches (not the data of `make up`)
	@rm -rf $(patsubst %/pyvenv.cfg,%,$(wildcard $(VENV)/pyvenv.cfg)) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(UV): scripts/uv-pin.txt
	@python=$$(sh scripts/find_python.sh) && "$$python" scripts/fetch_uv.py $@

$(SYNCED): $(UV) uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml examples/*/pyproject.toml)
	@test -x $(BIN)/python || { python=$$(sh scripts/find_python.sh) && $(UV) venv --quiet --python "$$python" $(VENV); }
	@$(UV) sync --frozen
	@touch $@
