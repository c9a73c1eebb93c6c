# SPDX-License-Identifier: GPL-3.0-or-later
#
# A thin layer for people's fingers; the build itself is meson's (meson.build), the work is in scripts/ and tests/run.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
FUZZER ?=
SECONDS ?= 60
ONLY ?=
CYCLES ?= 500
RUNS ?= 10000

export LC_ALL := C.UTF-8

.PHONY: all help setup setup-bench demo check install uninstall stage deb bench soak fuzz format clean kernel compile program
.DEFAULT_GOAL := all
.NOTPARALLEL:

all: compile stage

help:
	@echo 'make demo        install what is missing, build, convert an example image and run it'
	@echo 'make check       install the test tools and run every test; ONLY="unit e2e" for some kinds'
	@echo 'make             build everything and lay it out below $(BUILD)/stage (no packages are installed)'
	@echo 'make install     install below DESTDIR=$(DESTDIR) PREFIX=$(PREFIX); make uninstall removes it'
	@echo 'make deb         build $(BUILD)/gvmkit_VERSION_ARCH.deb'
	@echo 'make bench       measure gvmkit against the usual tools (ONLY="boot exec memory runtime volumes many pack update scale registry transfer")'
	@echo 'make soak        ya-runtime-vm over and over, and nothing may be left: CYCLES=$(CYCLES) RUNS=$(RUNS)'
	@echo 'make fuzz        run one fuzzer: FUZZER=fuzz_tar SECONDS=600'
	@echo 'make format      put the C sources into the project'"'"'s form'
	@echo 'make setup       install the packages that building and running need'
	@echo 'make clean       remove $(BUILD); the guest kernel stays in ~/.cache/gvmkit'

setup:
	@scripts/setup.sh build demo

setup-bench:
	@scripts/setup.sh build demo bench

$(BUILD)/build.ninja:
	meson setup $(BUILD)

# Everything that meson knows, the tests too.
compile: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# Only what is installed.
program: $(BUILD)/build.ninja
	@ninja -C $(BUILD) $$(scripts/install.sh --targets)

kernel:
	@guest/kernel/build.sh >/dev/null

# What `make install` would lay down, so that nothing ever runs from the source tree.
stage: program kernel
	@scripts/install.sh $(BUILD) $(BUILD)/stage ''

install: program kernel
	@scripts/install.sh $(BUILD) '$(DESTDIR)' '$(PREFIX)'

uninstall:
	@scripts/install.sh --uninstall '$(DESTDIR)' '$(PREFIX)'

demo: setup stage
	@scripts/demo.sh $(BUILD)/stage

check:
	@scripts/setup.sh build demo check
	@tests/run $(if $(ONLY),--only '$(ONLY)')

deb: stage
	@scripts/make-deb.sh $(BUILD)

bench: setup-bench stage
	@bench/run $(if $(ONLY),--only '$(ONLY)') --build $(BUILD)

soak: setup stage
	@tests/soak/soak.py --prefix $(BUILD)/stage --cycles $(CYCLES) --runs $(RUNS)

fuzz:
	@scripts/setup.sh build check
	@tests/run --fuzz '$(FUZZER)' --seconds '$(SECONDS)'

format:
	@clang-format-14 -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

clean:
	rm -rf $(BUILD)
