PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
OUT    := results
PATCHED := $(addprefix sample_images/,camera.png chelsea.jpg coffee.jpg space/rocket.jpg)
TORCH  ?= torch==2.13.0
DATA   ?= $(or $(LGS_DATA),../shared/data)

.DEFAULT_GOAL := help
.PHONY: help run test check format bench table localize-table detector man docs check-floors fuzz corpus clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.lgs  ## Clean and repair the sample images, with masks, reports and a comparison
	$(BIN)/lgs clean sample_images -o $(OUT)/cleaned --masks $(OUT)/masks --report $(OUT)/run.jsonl --force
	$(BIN)/lgs report $(OUT)/run.jsonl -o $(OUT)/report.html
	$(BIN)/lgs compare $(PATCHED) -o $(OUT)/comparison.png --masks
	$(BIN)/lgs scan sample_images
	$(BIN)/lgs clean sample_images -o $(OUT)/repaired --method localize --masks $(OUT)/found --mask-style overlay --report $(OUT)/localize.jsonl --force
	$(BIN)/lgs report $(OUT)/localize.jsonl -o $(OUT)/localize.html
	@echo
	@echo "cleaned images:   $(OUT)/cleaned/"
	@echo "their masks:      $(OUT)/masks/"
	@echo "the report:       $(OUT)/report.html  (made from $(OUT)/run.jsonl)"
	@echo "repaired images:  $(OUT)/repaired/  (patches found and filled; the others are the same bytes)"
	@echo "what was found:   $(OUT)/found/, and $(OUT)/localize.html"
	@echo "methods compared: $(OUT)/comparison.png"

test: $(VENV)/.dev  ## Run all tests, on two cores
	$(BIN)/pytest -q -n 2 --dist loadfile

check: $(VENV)/.dev  ## Check format, lint, types and the package
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	rm -rf $(OUT)/dist
	$(BIN)/python -m build --no-isolation --outdir $(OUT)/dist . > /dev/null
	$(BIN)/twine check --strict $(OUT)/dist/*
	@test $$(cat $(OUT)/dist/*.whl | wc -c) -lt 1500000 || { echo "the wheel is over 1.5 MB"; exit 1; }

# What is declared in pyproject.toml, each in its lowest version.
check-floors: BIN := $(VENV)-floors/bin
check-floors: PIP := $(VENV)-floors/bin/python -m pip --quiet --disable-pip-version-check
check-floors:  ## Test on the lowest declared versions (ARGS=tests/test_lgs.py: some of the tests)
	@mkdir -p $(OUT)
	$(PYTHON) -m venv $(VENV)-floors
	$(PYTHON) tests/floors.py > $(OUT)/floors.txt
	$(PIP) install --constraint $(OUT)/floors.txt --editable . pytest pytest-timeout scikit-image scipy
	$(use_headless_if_needed)
	$(BIN)/pytest -q $(ARGS)

format: $(VENV)/.dev  ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure speed against baselines, paired in one run (ARGS=--quick: less of it)
	@mkdir -p $(OUT)
	$(BIN)/python tests/benchmarks/bench.py --json $(OUT)/bench.json $(ARGS)

# To give the memory of each gradient step back and take it again costs a quarter of the time.
KEEP_MEMORY = MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000

table: $(VENV)/.dev  ## Make the tables of defenses against attacks (days; ARGS="--part bpda --count 20": less)
	$(KEEP_MEMORY) $(BIN)/python tests/benchmarks/table.py $(ARGS)

localize-table: $(VENV)/.dev  ## Measure how strong localize is (hours; ARGS=--skip-white-box: less)
	$(BIN)/python tests/benchmarks/localize_table.py $(ARGS)

# Three of the five patches are learned from; the other two, and the photographs in imagenet, are
# what the figures are measured on.
detector: $(VENV)/.dev  ## Train the detector of localize from the data beside the repository (an hour)
	@mkdir -p $(OUT)
	$(BIN)/lgs train --images $(DATA)/imagenet_more \
		$(addprefix --patches ,$(wordlist 1,3,$(sort $(wildcard $(DATA)/imagenet_patch/*.png)))) \
		--model $(DATA)/models/squeezenet1_1.pt2 --model $(DATA)/models/efficientnet_lite0.pt2 \
		--attackers 24 --warmup 800 --rounds 120 --hold-out 0.17 -o $(OUT)/detector.onnx
	@echo "to ship it: cp $(OUT)/detector.onnx lgs_cli/defenses/detector.onnx"

docs: $(VENV)/.dev  ## Write the reference of the Python API into results/docs
	$(BIN)/python -W ignore -m pdoc --docformat numpy --no-show-source --template-directory .ci/pdoc \
		--output-directory $(OUT)/docs lgs_cli lgs_cli.adapters.torch lgs_cli.adapters.transforms \
		$$($(BIN)/python -c 'import art' 2> /dev/null && echo lgs_cli.adapters.art)
	@echo "the reference: $(OUT)/docs/index.html"

man: $(VENV)/.lgs  ## Write the man pages into results/man (a wheel brings them along)
	$(BIN)/python -c "from pathlib import Path; from lgs_cli.cli import commands; \
		from lgs_cli.commands import man_pages; man_pages.write(commands, Path('$(OUT)/man'))"
	@echo "to read one: man -l $(OUT)/man/man1/lgs-clean.1"

fuzz: $(VENV)/.dev  ## Read 10,000 damaged images, report lines, manifest lines and listed paths
	$(BIN)/python tests/fuzz.py --mutants 10000
	$(BIN)/python tests/fuzz_report.py --mutants 10000
	$(BIN)/python tests/fuzz_manifest.py --mutants 10000
	$(BIN)/python tests/fuzz_lists.py --mutants 10000

corpus: $(VENV)/.dev  ## Clean a folder of foreign files, and list what was lost (FOLDER=DIR)
	$(BIN)/python tests/corpus.py $(FOLDER)

clean:  ## Remove the virtual environment, results and caches
	rm -rf $(VENV) $(VENV)-floors $(OUT) .mypy_cache .pytest_cache .ruff_cache
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
