# make        the environment in .venv, with .venv/bin/gentg
# make demo   the sample clip -> demo/: capture, .blend, .fbx, preview video and a still
# make test   all tests that this machine can run
# make bpy-5.0  Blender 5.0 as a Python module in a folder of its own (1 GB), for `make test` to run in too
# make lint   ruff: rules and format
# make clean  remove the environment and the demo
VENV := .venv
BIN := $(VENV)/bin
BPY50 := .venv-bpy-5.0
SAMPLE := samples/beam_walk.mp4

.PHONY: all demo test bpy-5.0 lint clean
.DELETE_ON_ERROR:

all: $(VENV)/.complete

$(VENV)/.complete: $(wildcard requirements/*) pyproject.toml
	@requirements/install.sh $(VENV)
	@touch $@

demo: all
	$(BIN)/gentg estimate $(SAMPLE) -o demo --blend --fbx --preview --still
	@ls -l demo

test: all
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

bpy-5.0: $(BPY50)/.complete

$(BPY50)/.complete: requirements/blender-5.0.lock | all
	$(BIN)/python -m venv --clear $(BPY50)
	$(BPY50)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r $<
	$(BPY50)/bin/python -c 'import bpy'
	@touch $@

lint: all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(BPY50) demo
