# make help lists the targets. Nothing here is needed by plain `go build ./...`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
BIN := bin
GO ?= go
FUZZTIME ?= 60s
TRIM := -trimpath
# What make bench measures, and make bench-peers, and the file that they write to.
SHAPE ?= llama-160m
WORKS ?= all
RECORD ?= docs/benchmarks.md
# The conformance suite runs on outside data that is not ours to ship: it is in when SEXTANT_DATA names that data.
TAGS := $(if $(SEXTANT_DATA),-tags conformance)

.PHONY: help quickstart slurm-quickstart build test check lint sanitize fuzz chaos bench bench-peers deps docs install clean worker-cuda check-cuda \
  gpu-check-kit gpu-check vet staticcheck test-raced test-beside check-cuda-aligned check-cuda-odd check-cuda-goldens check-cuda-programs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

quickstart: build ## evaluate the pocket model on the pocket suite and print the table
	@$(BIN)/submit examples/pocket/eval.toml --max-num-workers 2

# The cluster's state is in memory where that may run programs: jobs' scripts lie there. The run stays, under outputs.
slurm-quickstart: build ## run the pocket suite on a throw-away Slurm cluster and print the table
	@base=/tmp; if [ -w /dev/shm ] && ! grep -q ' /dev/shm .*noexec' /proc/mounts; then base=/dev/shm; fi; \
	dir=$$(mktemp -d $$base/sextant.XXXXXX); mkdir -p outputs; work=$$(mktemp -d outputs/slurm.XXXXXX); \
	trap '[ ! -e $$dir/c ] || scripts/slurm-cluster down $$dir/c --kill; rm -rf $$dir' EXIT; trap 'exit 130' INT TERM; \
	scripts/slurm-cluster up $$dir/c --nodes 4 --gpus 8 >&2; \
	SLURM_CONF=$$dir/c/etc/slurm.conf $(BIN)/submit examples/pocket/eval.toml --slurm -p llmeval -q auto \
	  --max-num-workers 4 --max-partition-size 400 -w $$work

# What --version tells of the source, also where go build does not ask git.
STAMP = -ldflags "-X sextant/pkg/cliargs.revision=$$(git describe --always --dirty 2>/dev/null || true)"

build: ## bin/submit (static) and bin/worker
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build $(TRIM) $(STAMP) -o $(BIN)/submit ./cmd/submit
	CGO_ENABLED=1 $(GO) build $(TRIM) $(STAMP) -o $(BIN)/worker ./cmd/worker

# What the CUDA kernels are compiled for; -ptx: for GPUs to come.
CUDA_ARCH ?= 80 89 90 90-ptx
EMULATED := $(CURDIR)/$(BIN)/libsextant_cuda_emulated.so
# The tests of kernels that a device takes part in.
TABLE := '^Test(Ops|Device|Pieces|SetBatch|Graph|RoundingOfActivations|HalfIsItsValues|LogProbIs|Sample|AttentionIgnores|KVCopy|Copy|$\
  Misuse|BadWeights|NoMemory|Open|Lifetimes|Nothing|TensorViews)'

worker-cuda: build ## bin/worker and, beside it, bin/libsextant_cuda.so: nvcc of PATH or NVCC, else out of Debian's packages
	@if [ -z "$(NVCC)" ] && ! command -v nvcc >/dev/null; then scripts/cuda-tree; fi
	scripts/build-cuda --arch "$(CUDA_ARCH)" $(BIN)/libsextant_cuda.so

# Without nvcc (status 3, the reason is printed) the kernels are still run. It compiles as build-cuda --check does: worker-cuda optimises.
check-cuda: ## compile the CUDA kernels where nvcc can be had, then run them on the emulator of kernels/cuda/emu; needs no GPU
	@if [ -n "$(NVCC)" ] || command -v nvcc >/dev/null || scripts/cuda-tree; then \
	  scripts/build-cuda --check --arch "$(CUDA_ARCH)" && echo "check-cuda: compiled for $(CUDA_ARCH)"; \
	else s=$$?; [ $$s = 3 ] || exit $$s; echo "check-cuda: NOT compiled by nvcc, for the reason above"; fi
	scripts/build-cuda --tests $(BIN)/cuda/emulator && $(BIN)/cuda/emulator
	scripts/build-cuda --emulated $(EMULATED)
	scripts/build-cuda --programs $(BIN)/cuda
	gcc -std=gnu11 -O1 -Wall -Ikernels/cuda kernels/cuda/tests/host.c -o $(BIN)/cuda/host -ldl && $(BIN)/cuda/host $(EMULATED) emulated
	$(GO) test -c -o $(BIN)/cuda/kernels.test ./kernels
	@$(MAKE) --no-print-directory -j2 -Otarget check-cuda-aligned check-cuda-odd check-cuda-goldens check-cuda-programs

# Each on one core. The table: views that vectors can read, and such that they cannot; with -short a case is not for all devices.
check-cuda-aligned check-cuda-odd check-cuda-goldens check-cuda-programs: export SEXTANT_EMU_THREADS := 1
check-cuda-aligned:
	cd kernels && SEXTANT_CUDA_LIB=$(EMULATED) SEXTANT_TEST_TARGETS='^cuda.*aligned$$' ../$(BIN)/cuda/kernels.test -test.short -test.run $(TABLE)
check-cuda-odd:
	cd kernels && SEXTANT_CUDA_LIB=$(EMULATED) SEXTANT_TEST_TARGETS='^cuda.*[0-9]$$' ../$(BIN)/cuda/kernels.test -test.short -test.run $(TABLE)
check-cuda-goldens:
	SEXTANT_CUDA_LIB=$(EMULATED) $(GO) test -count=1 -run TestDevice ./pkg/model/ ./pkg/engine/ ./pkg/pipeline/
check-cuda-programs:
	$(BIN)/cuda/attention && $(BIN)/cuda/matmul

gpu-check-kit: ## bin/gpu and bin/gpu-kit.tgz: what gpu-check needs on a machine without Go
	GO=$(GO) scripts/gpu/kit

gpu-check: ## on a machine with a GPU, nvcc and the kit: build the kernels, check them, measure them beside PyTorch (8 minutes)
	scripts/gpu-check

test: TRIM := # what vet has compiled is not compiled again for other names of files
# What has no goroutines of its own, and suites that compute for long under the race detector, which does not see C, run without it: of some
# it gets what has goroutines at odds, and kernels' suite runs under the sanitizers, which share the cores with the emulator.
# pkg/sandbox holds fork bombs to times: alone.
ALONE := pkg/sandbox
PURE := internal/(clidoc|cudalib|goldens|halves|points|smalldisk)|kernels|kernels/.*|scheduler|pkg/(calib|cliargs|dataset|export|jinja|metric|ocimport|$\
  pickle.*|plan|qformat|quant|report|spec|sweep|tokenizer|track)
test: deps vet build ## everything, installing what it needs from Debian's packages if absent
	@$(MAKE) --no-print-directory -j2 -Otarget test-raced test-beside
	$(GO) test -race -run 'Stopped|Taken|Progress|AnotherJob|Threads|Lookups' $(TAGS) ./pkg/plan ./pkg/quant ./pkg/report
	$(GO) test $(TAGS) $$($(GO) list ./... | grep -xE 'sextant/($(PURE))')
	$(GO) test $(TAGS) ./pkg/sandbox

# Tests on clusters wait more than they compute: what only computes takes the processors that they leave.
test-raced:
	$(GO) test -race -timeout 15m $(TAGS) $$($(GO) list ./... | grep -vxE 'sextant/($(ALONE)|$(PURE))')
test-beside:
	@nice -n 19 $(MAKE) --no-print-directory -j2 -Otarget sanitize check-cuda staticcheck

check: lint ## the quick subset: lint and tests without the race detector
	$(GO) test $(TAGS) ./...

lint: vet staticcheck ## gofmt, go vet (with and without cgo), staticcheck

vet:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt wanted on: $$out"; exit 1; fi
	$(GO) vet $(TAGS) ./...
	CGO_ENABLED=0 $(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck $(TAGS) ./...

sanitize: ## the kernels' suite under AddressSanitizer and UBSan at once
	ASAN_OPTIONS=allocator_may_return_null=1 CGO_LDFLAGS="-fsanitize=undefined" \
	CGO_CFLAGS="-O1 -g -DSEXTANT_SANITIZED -fsanitize=undefined -fno-sanitize-recover=all" $(GO) test -short -asan -timeout 15m ./kernels/...

fuzz: ## every fuzz target for FUZZTIME (60s)
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep ^Fuzz || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

chaos: build ## kill workers, nodes and controllers of a real Slurm at random for long; every run must end whole
	$(GO) test -count=1 -timeout 120m -run Chaos ./cmd/submit -chaos

bench: build ## measure this machine and write the rows into docs/benchmarks.md: works of evaluation, Go benchmarks, the pocket suite
	$(BIN)/worker bench --shape $(SHAPE) --record $(RECORD)
	GO=$(GO) BIN=$(BIN) scripts/bench-go $(RECORD)

bench-peers: build ## the same beside llama.cpp and transformers; scripts/bench-peers --help says what it needs
	BIN=$(BIN) scripts/bench-peers --record $(RECORD) $(WORKS)

# Slurm is for the tests alone, which bring up clusters of their own: no service of these packages is started.
deps: ## install gcc, g++, git, python3, Slurm, Chromium, zsh, fish and groff from Debian's packages where they are missing
	@PATH=$$PATH:/usr/sbin:/sbin; miss=; \
	for p in gcc:gcc g++:g++ git:git python3:python3 munged:munge slurmctld:slurmctld slurmd:slurmd squeue:slurm-client slurmdbd:slurmdbd mariadbd:mariadb-server chromium:chromium zsh:zsh fish:fish groff:groff-base; do \
	  command -v $${p%%:*} >/dev/null || miss="$$miss $${p##*:}"; done; \
	if [ -n "$$miss" ]; then \
	  policy=/usr/sbin/policy-rc.d; \
	  if [ ! -e $$policy ]; then trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; fi; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y --no-install-recommends $$miss libc6-dev fonts-dejavu-core; fi

docs: ## write docs/cli.md, docs/json.md and the man pages anew, from the commands
	$(GO) test -count=1 ./cmd/submit ./cmd/worker -run '^TestDocs$$' -update

PREFIX ?= /usr/local
DESTDIR ?=
install: build ## put the programs, man pages and shells' completions under PREFIX (/usr/local), below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 $(BIN)/submit $(BIN)/worker $(DESTDIR)$(PREFIX)/bin
	if [ -e $(BIN)/libsextant_cuda.so ]; then install -m 755 $(BIN)/libsextant_cuda.so $(DESTDIR)$(PREFIX)/bin; fi
	install -m 644 docs/man/submit.1 docs/man/worker.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 cmd/submit/completion/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/submit
	install -m 644 cmd/submit/completion/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_submit
	install -m 644 cmd/submit/completion/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/submit.fish

clean: ## remove bin/ and outputs/
	rm -rf $(BIN) outputs
