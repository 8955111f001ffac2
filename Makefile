PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
OUT    := results
PATCHED := $(addprefix sample_images/,camera.png chelsea.jpg coffee.jpg space/rocket.jpg)
TORCH  ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help run test check format bench table fuzz clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.lgs  ## Clean the sample images, with masks, a report and a comparison
	$(BIN)/lgs clean sample_images -o $(OUT)/cleaned --masks $(OUT)/masks --report $(OUT)/run.jsonl --force
	$(BIN)/lgs report $(OUT)/run.jsonl -o $(OUT)/report.html
	$(BIN)/lgs compare $(PATCHED) -o $(OUT)/comparison.png --masks
	@echo
	@echo "cleaned images:   $(OUT)/cleaned/"
	@echo "their masks:      $(OUT)/masks/"
	@echo "the report:       $(OUT)/report.html  (made from $(OUT)/run.jsonl)"
	@echo "methods compared: $(OUT)/comparison.png"

test: $(VENV)/.dev  ## Run all tests
	$(BIN)/pytest -q

check: $(VENV)/.dev  ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure speed against baselines, paired in one run (ARGS=--quick: less of it)
	@mkdir -p $(OUT)
	$(BIN)/python tests/benchmarks/bench.py --json $(OUT)/bench.json $(ARGS)

table: $(VENV)/.dev  ## Make the README's table of defenses against attacks (half an hour)
	$(BIN)/python tests/benchmarks/table.py

fuzz: $(VENV)/.dev  ## Clean 10,000 damaged images
	$(BIN)/python tests/fuzz.py --mutants 10000

clean:  ## Remove the virtual environment, results and caches
	rm -rf $(VENV) $(OUT) .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# OpenCV's wheel needs libGL and libglib from the system; on a bare server, where they are missing,
# the headless wheel of the same version takes its place in this environment.
define use_headless_if_needed
@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	version=$$($(BIN)/python -c 'from importlib.metadata import version as v; print(v("opencv-python"))') && \
	echo "libGL or libglib is missing here: using opencv-python-headless" && \
	$(PIP) uninstall --yes opencv-python && \
	$(PIP) install --force-reinstall --no-deps "opencv-python-headless==$$version"; \
}
endef

$(VENV)/.lgs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable .
	$(use_headless_if_needed)
	@touch $@

# Where torch cannot be had, the tests that need it are skipped and say so.
$(VENV)/.dev: $(VENV)/.lgs
	$(PIP) install --editable '.[dev]'
	$(PIP) install '$(TORCH)' || echo "torch is not installed"
	$(use_headless_if_needed)
	@touch $@
