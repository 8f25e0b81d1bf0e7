PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: demo test studio env test-env test-versions test-hosts lint workflows benchmark benchmark-sampling

demo: env
	@$(VENV) -m scripts.demo

studio: env
	@$(VENV) -m scripts.studio --port $(or $(PORT),8188)

test: test-env
	@$(VENV) -m scripts.run_tests

test-versions: test-env
	@$(VENV) -m scripts.test_versions

test-hosts: test-env
	@$(VENV) -m scripts.test_hosts $(VERSIONS)

lint: test-env
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

workflows: env
	@$(VENV) -m scripts.make_workflows

benchmark: env
	@$(VENV) -m benchmarks.main_job

benchmark-sampling: env
	@$(VENV) -m benchmarks.sampling

env:
	@$(PYTHON) scripts/bootstrap.py

test-env:
	@$(PYTHON) scripts/bootstrap.py --test
