# The front door: Meson and Ninja do the work. `make help` lists what there is.
PREFIX ?= /usr/local
BUILD = build
NINJA = ninja $(if $(JOBS),-j$(JOBS))

build: $(BUILD)/build.ninja ## into build/: muster, libmuster.so, libmuster.a, examples/api
	@$(NINJA) -C $(BUILD)
$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "make: meson is missing (try: make deps)" >&2; exit 1; }
	@meson setup $(BUILD) >/dev/null || { meson setup $(BUILD); exit 1; }
deps: ## install what is missing to build, test and check (Debian, Ubuntu)
	@tools/install-deps
run: ## the example API on port 8080: PORT=9000 WORKERS=4 make run
	@tools/install-deps build
	@$(MAKE) --no-print-directory build
	@exec $(BUILD)/examples/api
test: ## build, run every test; the last line is "N passed, N failed"
	@tools/install-deps build tests
	@tools/run-tests $(BUILD)
check: ## all that CI does: format, lint, man pages, compilers, sanitizers
	@tools/install-deps
	@tools/check
soak: ## the long tests: SOAK_SECONDS=600 make soak
	@tools/install-deps build tests
	@tools/run-tests --soak $(BUILD)
fuzz: ## feed the decoders what they do not expect: FUZZ_SECONDS=60
	@tools/install-deps
	@tools/fuzz
bench: build ## ratios to the peers that are installed, as a table
	@bench/run
coverage: ## which lines of src/ the tests reach
	@tools/install-deps
	@tools/coverage
format: ## lay the sources out as .clang-format says
	@tools/format
install: ## PREFIX=/usr/local DESTDIR=
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@meson configure $(BUILD) --prefix "$(abspath $(PREFIX))" --libdir lib
	@$(MAKE) --no-print-directory build
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD) --no-rebuild
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig
clean: ## remove what was built
	@rm -rf build build-*
help:
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile
.PHONY: build deps run test check soak fuzz bench coverage format install clean help
