# Everything happens in .venv, which is made on first use.
#   make report   set up and write reports/sleepstudy.html
#   make test     set up, then lint, types and tests
.PHONY: report test lint types slow docs dist smoke zoo bench calibration clean

BIN := .venv/bin

report: .venv/ready
	$(BIN)/hierbayes report sleepstudy --output reports/sleepstudy.html

test: lint types
	@.ci/find-browser || true
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

slow: .venv/ready
	$(BIN)/pytest -m slow

# The site, in build/site/index.html; needs no network
docs: .venv/ready
	$(BIN)/sphinx-build -W --keep-going -q -b html -d build/doctrees docs build/site
	@echo "build/site/index.html"

# The model zoo, refitted and compared with what is expected
zoo: .venv/ready
	$(BIN)/hierbayes zoo verify

dist: .venv/ready
	rm -rf dist && $(BIN)/python -m build --quiet && ls dist

# Wheel and source distribution, each in a bare environment of every Python found (3.12, 3.13)
smoke: dist
	.ci/smoke dist

# make bench BENCH="reml posterior --limit 120 --insteval InstEval.csv.gz"; python -m benchmarks --help lists the rest
bench: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement benchmarks/requirements.txt
	$(BIN)/python -m benchmarks $(BENCH)

# Ranks and coverage, a quarter of an hour on two cores: docs/calibration.md
calibration: .venv/ready
	$(BIN)/python -m benchmarks.calibration

.venv/ready: pyproject.toml constraints.txt
	@python=$$(.ci/find-python) && echo "Setting up .venv with $$python" && "$$python" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist
