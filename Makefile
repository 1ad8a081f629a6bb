# make dream     a deep dream of images/mountains.jpg in dreams/
# make test      lint, types, the staircase of modules, and the tests
# make test-all  the same with the tests that take long
# make format    bring all code into its usual form
# make notebook  dream.ipynb in JupyterLab
# make serve     the studio, as a page in the browser
# make caffe     build Caffe and install it into the environment
# make bench     the numbers that docs/speed.md quotes
# make clean     remove the environment; dreams/ stays
PYTHON ?= python3
BIN := .venv/bin
# Smaller or other dreams: make dream DREAM="--width 300 --octaves 2"
DREAM ?=
# Such as: make serve SERVE="--browser --port 8000"
SERVE ?=
# The fast engine, for tests and benchmarks
TORCH ?= torch==2.13.0
OUT ?= dreams/mountains.jpg
# Such as: make test PYTEST="tests/test_dream.py -x"
PYTEST ?= --durations=15

.PHONY: dream test test-all check format notebook serve caffe bench clean

dream: .venv/ready
	@mkdir -p $(dir $(OUT))
	$(BIN)/deepdream dream images/mountains.jpg -o $(OUT) --width 1024 --seed 0 $(DREAM)

test: check
	$(BIN)/pytest -m "not slow" $(PYTEST)
	$(MAKE) dream OUT=dreams/test.jpg DREAM="--width 320 --octaves 2 --iterations 4"

test-all: check
	$(BIN)/pytest $(PYTEST)
	$(MAKE) dream OUT=dreams/test.jpg DREAM="--width 320 --octaves 2 --iterations 4"

check: .venv/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebook: .venv/ready
	$(BIN)/python -m pip install --quiet -e '.[notebook]'
	$(BIN)/jupyter lab dream.ipynb

serve: .venv/ready
	$(BIN)/python -m pip install --quiet -e '.[studio]'
	$(BIN)/deepdream serve $(SERVE)

bench: .venv/tests
	$(BIN)/python benchmarks/bench.py

caffe: .venv/bin/pip
	$(BIN)/python tools/caffe/build.py

.venv/tests: .venv/ready
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e '.[test,torch]'
	@touch $@

.venv/ready: pyproject.toml $(wildcard tools/caffe/*.*) | .venv/bin/pip
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/python tools/caffe/build.py
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "deepdream needs Python 3.11 or newer; name yours: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  test `id -u` = 0 && apt-get update >/dev/null && apt-get install -y python3-venv >/dev/null; } || { \
	  echo "Python's venv is missing; install it, then try again:"; echo "    sudo apt-get install -y python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv
