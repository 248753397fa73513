# Front door for people: each target sets up what it needs, then calls CMake.
PRESET ?= release
PREFIX ?= /usr/local

.PHONY: build pgo run test test-engines install setup clean
build: setup
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build build/$(PRESET)
# The fastest weir, by a profile of our own load: builds twice. MODEL_PATH: a tokenizer to train with.
pgo: setup
	@scripts/build-pgo
setup:
	@scripts/setup
run: setup
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build build/$(PRESET) --target weir
	@scripts/run-demo build/$(PRESET)/weir
test:
	@scripts/test
# Real vLLM on the CPU; WEIR_ENGINES names set-ups (vLLM 0.16, SGLang, …; all). Installs 6 GB and more on the first run.
test-engines: build
	@scripts/test-engines build/$(PRESET)/weir
install: build
	cmake --install build/$(PRESET) --prefix $(PREFIX)
clean:
	rm -rf build
