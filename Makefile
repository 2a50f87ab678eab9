PYTHON := .venv/bin/python
NOTEBOOKS := $(PYTHON) -m pytest -c tests/nbval.ini --rootdir . -n 2
NBVAL := $(NOTEBOOKS) --dist loadfile --durations=15 --durations-min=5
WHEEL := $(PYTHON) packages/try_wheel.py
MUTANTS := $(PYTHON) -m mixbook.campaign
SWEEP := $(PYTHON) -m mixbook.sweep
PROJECTS := $(wildcard packages/*/pyproject.toml)
PDF := mixture-models-that-do-not-work
LATEX := texlive-xetex texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended \
	lmodern tex-gyre fonts-freefont-otf
SEEDS := 20
SAMPLERS := 8
export PYTHONHASHSEED := 0
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help book pdf zip lab execute check test lint wheel claims newest posteriordb mutants sweep tolerances bench lock clean

help: ## list the commands
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

.venv/installed: requirements.txt pyproject.toml $(PROJECTS) setup.sh
	@sh setup.sh

##@ Read and run

book: .venv/installed ## build the site from the stored notebooks into _build/html
	@rm -rf _build/html _build/.doctrees
	@.venv/bin/jupyter-book build -W --keep-going -n --quiet .
	@echo "The book is built: open _build/html/index.html in a browser."

.PHONY: xelatex
xelatex:
	@command -v xelatex >/dev/null || { echo "xelatex is missing. On Debian or Ubuntu:" \
		"apt-get install --no-install-recommends $(LATEX)" >&2; exit 1; }

pdf: xelatex book ## make the book a PDF, by XeLaTeX, which the next make book offers for download
	@rm -rf _build/latex _build/.doctrees _build/pictures
	@$(PYTHON) _ext/pictures.py
	@.venv/bin/jupyter-book build -W --keep-going -n --quiet --builder latex .
	@cd _build/latex && for pass in 1 2 3; do xelatex -interaction=batchmode $(PDF).tex >/dev/null || \
		{ grep -A3 "^!" $(PDF).log; exit 1; }; done
	@awk '/Overfull .hbox/ { sub(/.*\(/, ""); if ($$1 + 0 > 10) { print "A line is too wide: " $$0; bad = 1 } } \
		END { exit bad }' _build/latex/$(PDF).log
	@echo "The PDF is built: _build/latex/$(PDF).pdf"

zip: book ## pack the site, to be read from disk without a server
	@cd _build/html && ../../$(PYTHON) -m zipfile -c ../$(PDF).zip *
	@echo "The site is packed: _build/$(PDF).zip"

lab: .venv/installed ## open the chapters in JupyterLab, which is installed on first use
	@$(PYTHON) -c "import jupyterlab" 2>/dev/null || $(PYTHON) -m pip install --quiet "jupyterlab>=4,<5"
	@$(PYTHON) -m jupyterlab chapters

execute: .venv/installed ## run the chapters whose code or data changed and store their outputs (ALL=1: every one)
	$(PYTHON) -m mixbook.execute $(if $(ALL),--all) $(CHAPTERS)

##@ Guard

check: lint ## look at style, units, stored notebooks and their numbers: the quick part of make test
	$(PYTHON) -m pytest -q -n 2 --dist worksteal -m "not long and not slow"

test: lint ## run everything that guards the project
	@$(MAKE) -j2 -k --no-print-directory units notebooks
	$(MUTANTS) --sample

# Side by side, since each leaves a core idle.
.PHONY: units notebooks
units: book
	$(PYTHON) -m pytest -n 2 --dist worksteal
	$(WHEEL) --python $(PYTHON) --lock requirements.txt

notebooks:
	$(NBVAL) --nbval chapters

lint: .venv/installed ## check style with ruff
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

wheel: .venv/installed ## build the libraries and test their wheels with each Python found (LOWEST=1: lowest versions)
	$(WHEEL) $(if $(LOWEST),--lowest)

claims: .venv/installed ## run the notebooks and check their claims only (use with MIXBOOK_SEED=1)
	$(NBVAL) --nbval-lax chapters

newest: .venv/installed ## run the claims with the newest releases, in .venv-newest (WITH=a requirement to add)
	$(PYTHON) -m uv venv --quiet --clear --python $(PYTHON) .venv-newest
	$(PYTHON) -m uv pip install --quiet --python .venv-newest --all-extras \
		$(addprefix -r ,pyproject.toml $(PROJECTS)) $(addprefix -e ,. $(dir $(PROJECTS))) $(WITH)
	@$(PYTHON) -m uv pip freeze --quiet --python .venv > .venv-newest/locked.txt
	@$(PYTHON) -m uv pip freeze --quiet --python .venv-newest > .venv-newest/newest.txt
	@echo "The lock's releases beside those of this run:"
	@diff --side-by-side --suppress-common-lines --width=80 .venv-newest/locked.txt .venv-newest/newest.txt || true
	$(subst $(PYTHON),.venv-newest/bin/python,$(NBVAL)) --nbval-lax chapters

posteriordb: .venv/installed ## fit posteriordb's mixtures with enough draws to see an error of 5 % of a posterior sd
	$(PYTHON) -m pytest -m long tests/test_posteriordb.py

##@ Measure

mutants: .venv/installed ## put faults into the chapters, one at a time, and count those that are noticed (CHAPTERS=names)
	$(MUTANTS) $(CHAPTERS)

sweep: .venv/installed ## run all claims under fresh seeds and store each one's spread (SEEDS=20, or SEEDS=1-20,101-120)
	$(SWEEP) --seeds $(SEEDS) $(CHAPTERS)

tolerances: .venv/installed ## measure by how much the numbers of a chapter may differ, and store it (CHAPTERS=names)
	$(SWEEP) --samplers $(SAMPLERS) $(CHAPTERS)

bench: .venv/installed ## measure the libraries against their peers, and chapter 12's forms against each other
	$(PYTHON) packages/labelswitch/benchmarks/run.py
	$(PYTHON) packages/mixscale/benchmarks/run.py
	$(PYTHON) benchmarks/forms.py

##@ Keep house

lock: .venv/installed ## compile requirements.txt anew from pyproject.toml
	@$(PYTHON) -m uv pip compile --quiet --universal --upgrade --all-extras --no-annotate --no-header \
		--python-version 3.12 pyproject.toml packages/*/pyproject.toml -o _lock.txt
	@{ echo "# The complete lock, made from pyproject.toml by make lock."; cat _lock.txt; \
		echo "-e ."; echo "-e ./packages/labelswitch"; echo "-e ./packages/mixscale"; } > requirements.txt; rm _lock.txt

clean: ## remove what was built, but keep .venv
	rm -rf _build packages/*/dist .pytest_cache .ruff_cache .hypothesis
