# make        the environment in .venv, with .venv/bin/gentg
# make demo   the sample clip -> demo/: capture, .blend, .fbx, preview video and a still
# make test   all tests that this machine can run
# make lint   ruff
# make clean  remove the environment and the demo
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := samples/beam_walk.mp4

.PHONY: all demo test lint clean
.DELETE_ON_ERROR:

all: $(VENV)/.complete

$(VENV)/.complete: $(wildcard requirements/*) pyproject.toml
	@requirements/install.sh $(VENV)
	@touch $@

demo: all
	$(BIN)/gentg estimate $(SAMPLE) -o demo --blend --fbx --preview --still
	@ls -l demo

test: all
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: all
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) demo
