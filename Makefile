# Front door for people: each target sets up what it needs, then calls CMake.
PRESET ?= release
PREFIX ?= /usr/local

.PHONY: build run test install setup clean
build: setup
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build build/$(PRESET)
setup:
	@scripts/setup
run: build
	@scripts/run-demo build/$(PRESET)/weir
test:
	@scripts/test
install: build
	cmake --install build/$(PRESET) --prefix $(PREFIX)
clean:
	rm -rf build
