# SPDX-License-Identifier: GPL-2.0
#
# make help says what there is to make.

BUILD	?= $(CURDIR)/build
KDIR	?= /lib/modules/$(shell uname -r)/build
VM	:= selftests/vm
export BUILD

KREL	:= $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
		   $(KDIR)/include/generated/utsrelease.h 2>/dev/null)
KMOD	:= $(BUILD)/kmod-$(KREL)
# Headers of User Mode Linux are for an architecture of their own.
UML	:= $(if $(shell grep -s '^CONFIG_UML=y' $(KDIR)/include/config/auto.conf),ARCH=um)
# Some distributions' headers ask for pahole, and their packages do not.
NO_BTF	:= $(if $(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=)
# Headers of another Debian need its compiler, which is next to them.
USERLAND := $(wildcard $(dir $(KDIR))userland)
KMAKE	:= $(if $(USERLAND),$(VM)/inside $(USERLAND)) $(MAKE) -C $(KDIR) $(UML) $(NO_BTF)

all: user
	@if [ -n "$(KREL)" ]; then $(MAKE) --no-print-directory modules; else \
		echo "No headers for the running kernel ($(KDIR)): no module."; \
	fi

user:
	$(MAKE) -C user O=$(BUILD)/user

# A copy for each kernel: one source tree, and no objects in it.
modules:
	@[ -n "$(KREL)" ] || { echo "No kernel headers in $(KDIR); set KDIR." >&2; exit 1; }
	@mkdir -p $(KMOD)
	@cp -ru --preserve=timestamps Kbuild kmod include $(KMOD)/
	+$(KMAKE) M=$(KMOD) modules

# What make bench measures against: loaded in its VMs and nowhere else.
FLOOR	:= $(BUILD)/floor-$(KREL)
floor:
	@mkdir -p $(FLOOR)
	@cp -ru --preserve=timestamps selftests/floor/. kmod $(FLOOR)/
	+$(KMAKE) M=$(FLOOR) modules

install: user
	$(MAKE) -C user O=$(BUILD)/user install
ifneq ($(wildcard $(KMOD)/fbuf.ko),)
	install -D -m 644 $(KMOD)/fbuf.ko $(DESTDIR)/lib/modules/$(KREL)/extra/fbuf.ko
	$(if $(DESTDIR),,depmod $(KREL))
endif

# Of the module only that of the running kernel, or of KDIR.
uninstall:
	$(MAKE) -C user O=$(BUILD)/user uninstall
ifneq ($(KREL),)
	rm -f $(DESTDIR)/lib/modules/$(KREL)/extra/fbuf.ko
	$(if $(DESTDIR),,depmod $(KREL))
endif

load: modules
	insmod $(KMOD)/fbuf.ko

unload:
	rmmod fbuf

deps:
	@$(VM)/deps

# The kernel in the VM: make vm KERNEL=6.1; NIC=virtio for two NICs as well
KERNEL	?= 6.12
vm: deps user
	@[ $(KERNEL) != newest ] || $(VM)/deps all
	dir=$$($(VM)/kernel get $(KERNEL)) && \
	$(MAKE) modules KDIR=$$dir/headers && { $(VM)/run --kernel $$dir $(if $(NIC),--nic $(NIC)) || true; }

demo: deps
	@$(VM)/demo

cost: deps
	@$(VM)/cost

bench: deps
	@$(VM)/deps bench
	@$(VM)/bench

# Where the instructions of one send go: METHOD=sendfile SIZE=64K
METHOD	?= fbuf
SIZE	?= 4K
profile: deps user
	dir=$$($(VM)/kernel fetch $(KERNEL)) && $(MAKE) -s modules KDIR=$$dir/headers
	$(VM)/profile --kernel $(KERNEL) --method $(METHOD) --size $(SIZE)

native: deps
	@$(VM)/native

check: deps
	@$(VM)/check 6.1 6.12

check-debug: deps
	@$(VM)/check debug

check-uml: deps
	@$(VM)/check uml

# It only builds: PATTERN='6.1.*' for some of them
check-headers:
	@$(VM)/deps all
	@$(VM)/headers $(if $(PATTERN),'$(PATTERN)')

check-all: check-headers
	@$(VM)/deps all
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

lint:
	@$(VM)/deps lint
	@$(VM)/lint

clean:
	rm -rf $(BUILD)

help:
	@echo 'make              the library, the tool and, with headers, the module'
	@echo 'make modules KDIR=/path/to/headers'
	@echo 'make install      all that is built (PREFIX, DESTDIR); as root'
	@echo 'make uninstall    takes it away again; as root'
	@echo 'make load         insmod; make unload: rmmod; as root'
	@echo 'make demo         a file sent, and the comparison, in VMs; under 10 minutes'
	@echo 'make cost         what a buffer costs between processes, in VMs'
	@echo 'make bench        every way to send, measured, in VMs; under 20 minutes'
	@echo 'make profile      where the instructions of a send go (METHOD, SIZE, KERNEL)'
	@echo 'make native       what each way to send costs at native speed'
	@echo 'make vm           a shell in a VM with the module (KERNEL=6.1, 6.12, 6.12-rt,'
	@echo '                  newest, debug, uml)'
	@echo '                  with two NICs: NIC=virtio, virtio-hub, e1000e or iommu'
	@echo 'make check        the selftests in VMs, on 6.1 and 6.12'
	@echo 'make check-debug  the same on a kernel that looks for bugs'
	@echo 'make check-uml    the same on User Mode Linux: fast, on one CPU'
	@echo 'make check-headers  the module built, and not run, for all kernels of Debian 12 and'
	@echo '                  13 from 6.1 and 6.12 on, old point releases too'
	@echo 'make check-all    all of these, 6.12 with real-time scheduling, the newest kernel'
	@echo '                  of Debian, and one that looks for data races'
	@echo 'make inject       the same with memory short at each allocation of each call'
	@echo 'make fuzz-user    odd input for library and tool, SECONDS=30 for each target'
	@echo 'make fuzz         odd calls for the module, in User Mode Linux: SECONDS=600'
	@echo 'make soak         sends verified for hours (HOURS=1), while all around changes'
	@echo 'make lint         checkpatch, sparse, coccinelle, the analyzers of gcc and clang,'
	@echo '                  cppcheck and more; a few minutes'
	@echo 'make clean        the built files; ~/.cache/fbuf stays'

.PHONY: all user modules floor install uninstall load unload deps vm demo cost bench \
	profile native check check-all check-headers check-debug check-uml inject fuzz fuzz-user soak \
	lint clean help
