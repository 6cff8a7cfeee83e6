# make demo      the whole campaign on phantom slides, on this machine
# make test      the tests, on two processes (J=1: one after the other)
# make check     ruff and mypy
# make gpu       all that waits for a GPU: its tests and benchmarks -> benchmarks/results/gpu/*.md; exit status 2 without one
# make chaos     N faults at random steps of real training jobs; each has to end as an undisturbed one, bit by bit (N=20)
# make cluster-chaos  N campaigns on a SLURM on this host, with faults at random moments; each has to end with the same labels and
#                weights as an undisturbed one (N=50)
# make install   .venv with the package and its test extras; does nothing when up to date
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check gpu chaos cluster-chaos

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

demo: install
	bash slurm/master.sh configs/demo.yaml

test: install
	$(BIN)/python -m pytest -n $(or $(J),2) --dist loadgroup

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Both DALI packages are one module: the one for the CUDA that torch was built with has to be the only one.
gpu: install
	cuda=$$($(BIN)/python -c 'import torch; print((torch.version.cuda or "13").partition(".")[0])') && \
	if [ "$$cuda" = 13 ]; then $(BIN)/python -m pip uninstall -q -y nvidia-dali-cuda120; fi && \
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[cuda$$cuda]" && \
	$(BIN)/python -m benchmarks.gpu

chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.chaos $(or $(N),20) $(if $(SEED),--seed $(SEED))

cluster-chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.cluster.chaos $(or $(N),50) $(if $(SEED),--seed $(SEED))
