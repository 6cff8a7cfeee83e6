# make demo      the whole campaign on phantom slides, on this machine; then how right its pseudo-labels are, by the whole truth, and
#                the last teacher as a bundle, runs/demo/bundle
# make test      the tests, on two processes (J=1: one after the other); every claim has one
# make test-all  these and the long ones: more faults, more interruptions, more networks
# make test-torch TORCH=2.11.0  the tests of what depends on torch, with another release of it (PyPI's build, some gigabytes, in
#                .venv-torch-2.11.0; all else comes from .venv); TESTS=... chooses others
# make check     ruff and mypy
# make gpu       all that waits for a GPU: its tests and benchmarks -> benchmarks/results/gpu/*.md; exit status 2 without one
# make chaos     N faults at random steps of real training jobs; each has to end as an undisturbed one, bit by bit (N=20)
# make cluster-chaos  N campaigns on a SLURM on this host, with faults at random moments; each has to end with the same labels and
#                weights as an undisturbed one (N=50)
# make fuzz      N mutated files of every format that is read; each has to end in the same data or in one clear error (N=3000)
# make install   .venv with the package and its extra `bundle`, at the versions of constraints.txt (CONSTRAINTS= takes what pip
#                finds); `make test` and
#                `make check` add the test extras; both do nothing when up to date
PYTHON ?= python3
BIN := .venv/bin

CONSTRAINTS ?= constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: install install-test demo test test-all test-torch check gpu chaos cluster-chaos fuzz

install: .venv/installed

install-test: .venv/installed-test

# `mlseg` was the distribution's name before; its `mlseg` command would stay otherwise.
.venv/installed: pyproject.toml setup.py $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip uninstall -qqq -y mlseg
	$(PIP_INSTALL) -e '.[bundle]'
	touch $@

.venv/installed-test: .venv/installed
	$(PIP_INSTALL) -e '.[test]'
	touch $@

demo: install
	bash slurm/master.sh configs/demo.yaml
	$(BIN)/python -m benchmarks.pseudo_labels runs/demo --brief
	$(BIN)/mlseg bundle runs/demo --out runs/demo/bundle

test: install-test
	$(BIN)/python -m pytest -n $(or $(J),2) --dist loadgroup -m 'not long'

test-all: install-test
	$(BIN)/python -m pytest -n $(or $(J),2) --dist loadgroup

TORCH ?= 2.11.0
TORCH_ENV := .venv-torch-$(TORCH)
TESTS ?= tests/mlseg_dist tests/launch/preflight/test_versions.py

$(TORCH_ENV)/installed:
	test -x $(TORCH_ENV)/bin/python || $(BIN)/python -m venv $(TORCH_ENV)
	$(TORCH_ENV)/bin/python -m pip install -q --disable-pip-version-check 'torch==$(TORCH)'
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(TORCH_ENV)/others.pth
	pwd >> $(TORCH_ENV)/others.pth
	mv $(TORCH_ENV)/others.pth $$($(TORCH_ENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth
	$(TORCH_ENV)/bin/python -c 'import torch; assert torch.__version__.startswith("$(TORCH)"), torch.__version__'
	touch $@

test-torch: install-test $(TORCH_ENV)/installed
	$(TORCH_ENV)/bin/python -m pytest -n $(or $(J),2) --dist loadgroup $(TESTS)

check: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Both DALI packages are one module: the one for the CUDA that torch was built with has to be the only one.
gpu: install-test
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit(f"no CUDA device here (torch {torch.__version__}): nothing was run")' || exit 2
	cuda=$$($(BIN)/python -c 'import torch; print((torch.version.cuda or "13").partition(".")[0])') && \
	if [ "$$cuda" = 13 ]; then $(BIN)/python -m pip uninstall -q -y nvidia-dali-cuda120; fi && \
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[cuda$$cuda]" && \
	$(BIN)/python -m benchmarks.gpu

chaos: install-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.chaos $(or $(N),20) $(if $(SEED),--seed $(SEED))

cluster-chaos: install-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cluster.chaos $(or $(N),50) $(if $(SEED),--seed $(SEED))

fuzz: install-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(or $(N),3000) $(if $(SEED),--seed $(SEED))
