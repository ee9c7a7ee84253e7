# SPDX-License-Identifier: GPL-2.0
#
# make help says what there is to make.

BUILD	?= $(CURDIR)/build
KDIR	?= /lib/modules/$(shell uname -r)/build
VM	:= selftests/vm
BENCH	:= selftests/bench
LINT	:= selftests/lint
export BUILD

KREL	:= $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
		   $(KDIR)/include/generated/utsrelease.h 2>/dev/null)
KMOD	:= $(BUILD)/kmod-$(KREL)
# Headers of User Mode Linux are for an architecture of their own.
UML	:= $(if $(shell grep -s '^CONFIG_UML=y' $(KDIR)/include/config/auto.conf),ARCH=um)
# Those for arm64 may be on another machine.
ARM64	:= $(if $(shell grep -s '^CONFIG_ARM64=y' $(KDIR)/include/config/auto.conf),ARCH=arm64 \
	$(if $(filter aarch64,$(shell uname -m)),,CROSS_COMPILE=aarch64-linux-gnu-))
# Some distributions' headers ask for pahole, and their packages do not.
NO_BTF	:= $(if $(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=)
# Headers of another Debian need its compiler, which is next to them.
USERLAND := $(wildcard $(dir $(KDIR))userland)
KMAKE	:= $(if $(USERLAND),$(VM)/inside $(USERLAND)) $(MAKE) -C $(KDIR) $(UML) $(ARM64) $(NO_BTF)

all: headers
	@$(MAKE) --no-print-directory user modules

headers:
	@[ -n "$(KREL)" ] || { \
		echo "No kernel headers in $(KDIR), and so no module: install them, or set KDIR." >&2; \
		echo "For the library and the tool alone: make user" >&2; exit 1; }

user:
	$(MAKE) -C user O=$(BUILD)/user

# A copy for each kernel: one source tree, and no objects in it.
modules: headers
	@mkdir -p $(KMOD)
	@cp -ru --preserve=timestamps Kbuild kmod include $(KMOD)/
	+$(KMAKE) M=$(KMOD) modules

# What make bench measures against: loaded in its VMs and nowhere else.
FLOOR	:= $(BUILD)/floor-$(KREL)
floor:
	@mkdir -p $(FLOOR)
	@cp -ru --preserve=timestamps $(BENCH)/floor/. user/bench/fbuf_floor.h kmod $(FLOOR)/
	+$(KMAKE) M=$(FLOOR) modules

# The module without what only a debugger reads, which is most of it.
STRIP	?= $(CROSS_COMPILE)strip
KO	:= $(DESTDIR)/lib/modules/$(KREL)/extra/fbuf.ko
install:
	@[ -n "$(KREL)" ] && [ -e $(KMOD)/fbuf.ko ] || { \
		echo "There is no module for the kernel of $(KDIR): \"make\" builds it." >&2; \
		echo "For the library and the tool alone: make install-user" >&2; exit 1; }
	@$(MAKE) --no-print-directory install-user
	install -D -m 644 $(KMOD)/fbuf.ko $(KO)
	$(STRIP) --strip-debug $(KO)
	$(if $(DESTDIR),,depmod $(KREL))

install-user: user
	$(MAKE) -C user O=$(BUILD)/user install

# The modules of all kernels.
uninstall:
	$(MAKE) -C user O=$(BUILD)/user uninstall
	@set -e; for ko in $(DESTDIR)/lib/modules/*/extra/fbuf.ko; do \
		[ -e "$$ko" ] || continue; \
		echo "rm -f $$ko"; rm -f "$$ko"; \
		extra=$${ko%/*}; dir=$${extra%/*}; \
		rmdir --ignore-fail-on-non-empty "$$extra"; \
		[ -n "$(DESTDIR)" ] || [ ! -d "$$dir/kernel" ] || depmod "$${dir##*/}"; \
	done

# Debian's packages, in build/deb, of the Debian that this is.
deb:
	@$(VM)/deps deb
	@user/dist/deb $(BUILD)/deb

load: modules
	insmod $(KMOD)/fbuf.ko

unload:
	rmmod fbuf

deps:
	@$(VM)/deps

# The kernel in the VM: make vm KERNEL=6.1; NIC=virtio for two NICs as well
KERNEL	?= 6.12
vm: deps user
	@case $(KERNEL) in newest|uml-newest|uml-smp) $(VM)/deps all ;; esac
	dir=$$($(VM)/kernel get $(KERNEL)) && \
	$(MAKE) modules KDIR=$$dir/headers && { $(VM)/run --kernel $$dir $(if $(NIC),--nic $(NIC)) || true; }

demo: deps
	@$(VM)/deps plot || true
	@$(BENCH)/demo

cost: deps
	@$(BENCH)/cost

# Counted, not timed: any machine will do.
count: deps
	@$(VM)/deps bench
	@$(BENCH)/count

scale: deps
	@$(BENCH)/scale

receive-bench: deps
	@$(BENCH)/receive

bench: deps
	@$(VM)/deps bench
	@$(BENCH)/bench

# Some of it on arm64 as well, by emulation
bench-arm64: deps
	@$(VM)/deps arm64
	@$(BENCH)/arm64

workloads: deps
	@$(BENCH)/workloads

# Programs that nobody changed, plain and under fbuf run. As root: it makes a Debian.
run-bench: deps
	@$(VM)/deps run
	@$(BENCH)/run-bench

# The examples beside nginx, varnish and redis. As root, as run-bench.
serve-bench: deps
	@$(VM)/deps run
	@$(BENCH)/serve-bench

# fbuf relay in front of nginx, beside haproxy. As root, as run-bench.
relay-bench: deps
	@$(VM)/deps run
	@$(BENCH)/relay-bench

# Where the instructions of one send go: METHOD=sendfile SIZE=64K; of a parcel: METHOD=proxy
METHOD	?= fbuf
SIZE	?= 4K
profile: deps user
	dir=$$($(VM)/kernel fetch $(KERNEL)) && $(MAKE) -s modules KDIR=$$dir/headers
	$(BENCH)/profile --kernel $(KERNEL) --method $(METHOD) --size $(SIZE)

native: deps
	@$(VM)/deps native
	@$(BENCH)/native

# The orders in which CPUs may see what sends do, all of them: Documentation/testing.rst
models: deps
	@$(VM)/deps models
	@selftests/models/check

# Without a browser no page is looked at, which is no reason to test nothing.
check: deps
	@$(VM)/deps page || true
	@$(VM)/check 6.1 6.12

check-debug: deps
	@$(VM)/check debug

check-uml: deps
	@$(VM)/check uml

# Of other releases: RELEASES="0.4=COMMIT", else the last two
check-skew: deps
	@selftests/skew/check $(RELEASES)

# By emulation: pages of 4 and of 16 KiB; KERNELS="arm64-6.1" for Linux 6.1
check-arm64: deps
	@$(VM)/deps arm64
	@HOST=no $(VM)/check $(or $(KERNELS),arm64 arm64-16k)

# Debian's own programs under fbuf run; KERNELS="uml 6.1 6.12", TESTS="redis.sh web.sh"
check-run: deps
	@$(VM)/deps run
	@selftests/run/check $(or $(KERNELS),uml 6.1 6.12)

# The examples, and fbuf relay: on this machine, without the module; KERNELS="uml 6.12" for
# guests with it
check-apps: deps
	@$(VM)/deps run
	@selftests/apps/check $(or $(KERNELS),host uml)

# What doctor and log say, provoked and printed: Documentation/results/messages.rst
messages: deps
	@selftests/tool/messages

# Containers that have the device, by hand, by podman and by systemd-nspawn
check-containers: deps
	@$(VM)/deps run
	@DISK=containers selftests/apps/check $(or $(KERNELS),6.12)

# Their own test suites: MORE=1 for nearly all of redis', SUITES=redis for this one alone
run-suites: deps
	@$(VM)/deps run
	@MORE='$(MORE)' ROOT=suites TESTS=suites.sh selftests/run/check $(or $(KERNELS),uml)

# Several of them side by side with small pools and little memory: MINUTES=60
run-mix: deps
	@$(VM)/deps run
	@MINUTES=$(or $(MINUTES),60) TESTS=mix.sh selftests/run/check $(or $(KERNELS),uml)

# It only builds: PATTERN='6.1.*' for some of them
check-headers:
	@$(VM)/deps all
	@$(LINT)/headers $(if $(PATTERN),'$(PATTERN)')

# As root: it makes a Debian in a folder. SUITES="bookworm trixie"
check-packages: deps
	@$(VM)/deps packages
	@selftests/packages/check $(or $(SUITES),bookworm trixie)

check-all: check-headers
	@$(VM)/deps all
	@$(VM)/deps page
	@$(VM)/check 6.1 6.12 6.12-rt newest debug kcsan uml-debug

inject: deps
	@$(VM)/inject

# Odd input for library and tool; make check tries the inputs that were kept.
fuzz-user:
	@$(VM)/deps fuzz-user
	@$(MAKE) --no-print-directory -C user/fuzz O=$(BUILD)/user/fuzz fuzz

# Calls that are right and wrong, by the coverage of the module
fuzz: deps
	@$(VM)/fuzz --seconds $(or $(SECONDS),600)

# HOURS=0.5: how long; SEED=1; OPTIONS="--no-fuzz": see selftests/vm/soak --help
soak: deps
	@$(VM)/soak --hours $(or $(HOURS),1) $(if $(SEED),--seed $(SEED)) $(OPTIONS)

# SEED=1 MUTANTS=300 FILES="protect.c map.c" ID=...: see selftests/mutate/README.md
mutate: deps
	@SEED='$(SEED)' MUTANTS='$(MUTANTS)' FILES='$(FILES)' ID='$(ID)' selftests/mutate/run

lint:
	@$(VM)/deps lint
	@$(LINT)/lint

clean:
	rm -rf $(BUILD)

help:
	@echo 'make              the library, the tool and the module'
	@echo 'make user         the library and the tool alone, without kernel headers'
	@echo 'make modules KDIR=/path/to/headers'
	@echo 'make install      all three (PREFIX, DESTDIR); as root'
	@echo 'make install-user the library and the tool alone; as root'
	@echo 'make uninstall    takes it all away, the modules of all kernels too; as root'
	@echo 'make deb          Debian packages in build/deb: apt install ./build/deb/*.deb'
	@echo 'make load         insmod; make unload: rmmod; as root'
	@echo 'make demo         a file sent, and the comparison, in VMs, and a page of it;'
	@echo '                  under 10 minutes'
	@echo 'make cost         what a buffer costs between processes, in VMs'
	@echo 'make count        what each way to send copies, counted by probes, in VMs'
	@echo 'make receive-bench  to receive, look and send on, by parcels and otherwise'
	@echo 'make scale        what calls cost with up to a million buffers in flight'
	@echo 'make bench        every way to send, measured, in VMs; under 20 minutes'
	@echo 'make bench-arm64  some of it on arm64, with both sizes of pages, beside amd64'
	@echo 'make workloads    what programs do that send, each way to do it, in VMs'
	@echo 'make run-bench    programs that nobody changed, plain and under fbuf run, in VMs'
	@echo 'make serve-bench  httpd and relay beside nginx, varnish and redis, in VMs'
	@echo 'make relay-bench  fbuf relay in front of nginx beside haproxy, in VMs'
	@echo 'make profile      where the instructions of a send go (METHOD, SIZE, KERNEL)'
	@echo 'make native       what each way to send costs at native speed'
	@echo 'make vm           a shell in a VM with the module (KERNEL=6.1, 6.12, 6.12-rt,'
	@echo '                  newest, debug, uml, uml-newest, uml-smp)'
	@echo '                  with two NICs: NIC=virtio, virtio-hub, e1000e or iommu'
	@echo 'make models       what sends rely on without a lock, in every order, by spin'
	@echo 'make check        the selftests in VMs, on 6.1 and 6.12'
	@echo 'make check-debug  the same on a kernel that looks for bugs'
	@echo 'make check-uml    the same on User Mode Linux: fast, on one CPU'
	@echo 'make check-arm64  the same on arm64, with pages of 4 and of 16 KiB'
	@echo 'make check-run    programs of Debian, as they are and under fbuf run: equal bytes'
	@echo 'make check-apps   httpd and relay, and fbuf relay in front of nginx, by curl, wrk and'
	@echo '                  others: equal bytes'
	@echo 'make messages     what fbuf doctor and the kernel log say, each provoked'
	@echo 'make check-containers  the device in containers, by hand, podman and systemd-nspawn'
	@echo 'make run-suites   the tests of memcached and redis, under fbuf run'
	@echo 'make run-mix      several of them for an hour with little memory (MINUTES)'
	@echo 'make check-skew   module, library and tool of this tree and of the last two releases,'
	@echo '                  in all pairs'
	@echo 'make check-headers  the module built, and not run, for all kernels of Debian 12 and'
	@echo '                  13 from 6.1 and 6.12 on, old point releases too'
	@echo 'make check-all    all of these, 6.12 with real-time scheduling, the newest kernel'
	@echo '                  of Debian, and one that looks for data races'
	@echo 'make check-packages  those packages installed, upgraded and purged in Debian 12 and'
	@echo '                  13, in folders, in VMs that boot, and under Secure Boot; as root'
	@echo 'make inject       the same with memory short at each allocation of each call'
	@echo 'make fuzz-user    odd input for library and tool, SECONDS=30 for each target'
	@echo 'make fuzz         odd calls for the module, in User Mode Linux: SECONDS=600'
	@echo 'make soak         sends verified for hours (HOURS=1), while all around changes'
	@echo 'make mutate       the module broken on purpose, 300 times (MUTANTS, SEED, FILES):'
	@echo '                  do the tests notice?'
	@echo 'make lint         checkpatch, sparse, coccinelle, the analyzers of gcc and clang,'
	@echo '                  cppcheck and more; a few minutes'
	@echo 'make clean        the built files; ~/.cache/fbuf stays'

.PHONY: all user headers modules floor install install-user deb uninstall load unload \
	deps vm demo cost count scale receive-bench bench bench-arm64 workloads run-bench \
	serve-bench relay-bench profile native check check-all check-apps \
	check-headers check-packages check-containers messages check-skew check-run run-suites run-mix \
	check-arm64 check-debug check-uml models inject fuzz fuzz-user soak mutate lint clean help
