# Each target makes what it needs, on a machine that has Python (with venv), make and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: demo test lint coverage check bench sslyze schemathesis format clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

# Watch a FastAPI service being protected. BREAK=https|hsts|mtls|bearer|authorization|rate_limit|errors|audit leaves one layer out.
demo: $(READY)
	@$(BIN)/secure-asgi demo $(if $(BREAK),--break $(BREAK),)

# MEASURED=1 notes which lines and branches run, for coverage to tell.
test: $(READY)
	$(if $(MEASURED),$(BIN)/python -m coverage erase)
	$(BIN)/python $(if $(MEASURED),-m coverage run) -m pytest --numprocesses 2

# Everything CI asks for.
check: lint
	$(MAKE) test MEASURED=1
	$(MAKE) coverage

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The floor and the gates: no branch of theirs goes untested.
FLOORS = _asgi.py _paths.py errors.py denial.py exchange.py flow.py lifespan.py refusal.py _fetch.py _redis.py _redis_urls.py _redis_tls.py _batches.py secrets.py _cache.py _networks.py _trailers.py _pins.py _pem.py _files.py _der.py _chains.py _challengers.py _step_up.py _certificate_names.py _templates.py _rule_table.py _routes.py _failures.py _options.py _loop.py _entries.py _identities.py _starlette_user.py
GATES = trusted_proxy/*.py trusted_host.py https_redirect.py rate_limit/*.py throttle/*.py mutual_tls/*.py mutual_tls/forwarded/*.py bearer/*.py api_keys/*.py authorization/*.py fastapi/*.py checks/*.py cli/check.py cli/limits/*.py cli/application.py cli/tables.py cli/printable.py pinning.py tls/*.py servers/*.py cli/certs/*.py cli/certs/show/*.py
ENVELOPES = hsts.py security_headers.py sanitized_errors.py audit/*.py
comma := ,
empty :=
space := $(empty) $(empty)

coverage: $(READY)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered
	$(BIN)/python -m coverage report --fail-under 100 --skip-covered \
		--include '$(subst $(space),$(comma),$(addprefix src/secure_asgi/,$(FLOORS) $(GATES) $(ENVELOPES)))'

# Side by side with what people use today; ratios beside their goals.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks

# A TLS scanner, in an environment of its own: it pins what we do not, and nothing here depends on it.
sslyze: .venv-sslyze/.ready

.venv-sslyze/.ready:
	$(PYTHON) -m venv .venv-sslyze
	.venv-sslyze/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-sslyze/bin/python -m pip install --quiet 'sslyze~=6.3'
	@touch $@

# A caller who makes up requests from the OpenAPI document; likewise apart.
schemathesis: .venv-schemathesis/.ready

.venv-schemathesis/.ready:
	$(PYTHON) -m venv .venv-schemathesis
	.venv-schemathesis/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-schemathesis/bin/python -m pip install --quiet 'schemathesis~=4.32'
	@touch $@

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-sslyze .venv-schemathesis .coverage* .mypy_cache .ruff_cache .pytest_cache
