PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: demo test acceptance coverage studio env test-env test-versions test-hosts lint docs workflows benchmark benchmark-sampling benchmark-gpu

demo: env
	@$(VENV) -m scripts.demo

studio: env
	@$(VENV) -m scripts.studio --port $(or $(PORT),8188)

test: test-env
	@$(VENV) -m scripts.run_tests

acceptance:
	@test -n "$(MODELS)" || { echo "Say where the weights are: make acceptance MODELS=/path/to/ComfyUI/models"; exit 2; }
	@$(MAKE) --no-print-directory test-env
	@$(VENV) -m pip install --quiet --no-deps peft accelerate
	@$(VENV) -m scripts.acceptance "$(MODELS)" $(OPTIONS)

test-versions: test-env
	@$(VENV) -m scripts.test_versions

coverage: test-env
	@mkdir -p .cache/coverage
	@$(VENV) -m pytest tests -m "not browser" --cov --cov-report=term --cov-report=html

test-hosts: test-env
	@$(VENV) -m scripts.test_hosts $(VERSIONS)

lint: test-env
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@$(VENV) -m scripts.check_types
	@if command -v npm > /dev/null; then npm install --silent --no-audit --no-fund && npm run --silent lint; fi

docs: test-env
	@$(VENV) -m pip install --quiet "mkdocs-material" "mkdocstrings[python]"
	@$(VENV) -c "from scripts.check_types import linked; linked()"
	@$(VENV) -m mkdocs build

workflows: env
	@$(VENV) -m scripts.workflows

benchmark: env
	@$(VENV) -m benchmarks.main_job

benchmark-sampling: env
	@$(VENV) -m benchmarks.sampling

benchmark-gpu: env
	@test -n "$(OUT)" || { echo "Say where the rows go: make benchmark-gpu OUT=FOLDER"; exit 2; }
	@$(VENV) -m benchmarks.gpu --out "$(OUT)" $(OPTIONS)

env:
	@$(PYTHON) scripts/bootstrap.py

test-env:
	@$(PYTHON) scripts/bootstrap.py --test
