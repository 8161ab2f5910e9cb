# Each target makes what it needs, on a machine that has Python (with venv), make and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test check bench format clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

# Watch a FastAPI service being protected. BREAK=https|hsts|mtls|bearer|rate_limit|errors|audit leaves one layer out.
demo: $(READY)
	@$(BIN)/secure-asgi demo $(if $(BREAK),--break $(BREAK),)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2

# Everything CI asks for.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run --parallel-mode -m pytest --quiet
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Side by side with what people use today; ratios beside their goals.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache
