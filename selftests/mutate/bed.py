#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What mutants are built and booted with: see run."""

import argparse
import filecmp
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import mutator

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
VM = HERE.parent / "vm"
BUILD = Path(os.environ.get("BUILD", TOP / "build")).absolute()
OURS = BUILD / "mutate"


def load(path):
    """A program of ours, as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.name, loader))
    loader.exec_module(module)
    return module


vm = load(VM / "run")


class Failed(Exception):
    """What ends the run, for the user to read."""


def sh(command, **options):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         check=False, **options)
    if run.returncode:
        raise Failed(f"{shlex.join(map(str, command))}:\n{run.stdout[-3000:]}")
    return run.stdout


def build_tests():
    """The library, the tool and the tests, as check has them; returns their folder."""
    tests = OURS / "selftests"
    source = subprocess.run([VM / "kernel", "source"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    sh(["make", "-C", TOP / "user", f"O={BUILD}/user", "all"])
    # They may have been renamed.
    shutil.rmtree(tests, ignore_errors=True)
    make = ["make", "-C", TOP / "selftests", f"OUTPUT={BUILD}/selftests", f"KSRC={source}",
            f"LIBFBUF={BUILD}/user/libfbuf.a", f"INSTALL_PATH={tests}", "--no-print-directory"]
    sh(make + ["all", "install"])
    listed = sh(make + ["-s", "COLLECTION=fbuf", "emit_tests"])
    (tests / "list").write_text("".join(line.removeprefix("fbuf:") for line in
                                        listed.splitlines(True) if line.startswith("fbuf:")))
    return tests


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


class Bed:
    """A kernel, and a copy of the module's source that is built for it."""

    def __init__(self, name, tests, marks=None):
        self.name, self.tests = name, tests
        self.marks = marks	# of functions, if it is to tell which ran
        self.kernel = vm.Kernel(name, None)
        if not self.kernel.uml:
            raise Failed(f"{name} is not User Mode Linux")
        self.slow = 3 if self.kernel.debug else 1
        self.source = OURS / (name + ("-map" if marks else ""))
        self.build = self.source
        self.headers = self.kernel.root / "headers"
        self.sync()
        sh(["make", "-C", self.headers, "ARCH=um", f"M={self.source}", "modules"])
        self.module = self.source / "clean.ko"
        shutil.copyfile(self.source / "fbuf.ko", self.module)

    def sync(self):
        """Make the copy as the tree is, whatever was left there."""
        files = [TOP / "Kbuild"] + [path for folder in ("kmod", "include")
                                    for path in (TOP / folder).rglob("*") if path.is_file()]
        for path in files:
            copy = self.source / path.relative_to(TOP)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if self.marks:
                self.write_if_new(copy, self.marked(path))
            elif not copy.exists() or not filecmp.cmp(path, copy, shallow=False):
                shutil.copyfile(path, copy)
        for copy in (self.source / "kmod").glob("*.[ch]"):
            if not (TOP / "kmod" / copy.name).exists():
                copy.unlink()

    @staticmethod
    def write_if_new(path, text):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def marked(self, path):
        text = path.read_text(encoding="utf-8")
        if path.name == "Kbuild":
            return text + "ccflags-y += '-Dfbuf_ran_size=%d' -include $(src)/ran.h\n" % len(self.marks)
        if path.parent.name != "kmod" or path.suffix not in (".c", ".h"):
            return text
        self.write_if_new(self.source / "ran.h",
                          "extern unsigned char fbuf_ran[fbuf_ran_size];\n")
        text = mutator.instrument(mutator.Source(path, text), self.marks.index)
        if path.name == "main.c":
            text += "unsigned char fbuf_ran[fbuf_ran_size];\n" \
                    "module_param_array_named(ran, fbuf_ran, byte, NULL, 0600);\n"
        return text

    def command(self, target):
        """The command that kbuild made it with."""
        target = Path(target)
        text = (target.parent / f".{target.name}.cmd").read_text()
        return re.search(r"^savedcmd_\S+ := (.*)$", text, re.M)[1]

    def again(self, target):
        return subprocess.run(["sh", "-c", self.command(target)], cwd=self.headers,
                              capture_output=True, text=True, check=False)

    def objects_of(self, name):
        """The objects that have the file in them."""
        kmod = self.source / "kmod"
        if name.endswith(".c"):
            return [kmod / name.replace(".c", ".o")]
        return [path for path in sorted(kmod.glob("*.o"))
                if f"kmod/{name}" in (kmod / f".{path.name}.cmd").read_text()]

    def make_mutant(self, mutant, to):
        """Build the module with the mutant, as the file to: None, or why there is none."""
        path = self.source / "kmod" / mutant.file
        objects = self.objects_of(mutant.file)
        clean = {path: path.read_bytes() for path in [path] + objects}
        try:
            path.write_text(mutant.apply(), encoding="utf-8")
            if any(self.again(target).returncode for target in objects):
                return "does not compile"
            if all(target.read_bytes() == clean[target] for target in objects):
                return "same object"
            if self.link(to):
                return "does not link"
            return None
        finally:
            for path, data in clean.items():
                path.write_bytes(data)

    def link(self, to):
        whole, module = self.source / "fbuf.o", self.source / "fbuf.ko"
        status = self.again(whole).returncode or self.again(module).returncode
        if not status:
            shutil.copyfile(module, to)
        return status

    def boot(self, programs, judge, module=None, arguments=(), mem="1G"):
        """Run programs, lines of /etc/programs, until the judge has a verdict."""
        args = argparse.Namespace(mem=mem, append=[], nic=None)
        where = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with tempfile.TemporaryDirectory(prefix="mutate-", dir=where) as name:
            directory = Path(name)
            self.initramfs(directory, programs, module or self.module, arguments)
            append = vm.command_line(args, self.kernel)
            console = directory / "console"
            guest = vm.Uml(vm.uml(args, self.kernel, directory / "initrd", append, directory),
                           console, None, False)
            try:
                return watch(guest.process, console, judge)
            finally:
                guest.stop()

    def initramfs(self, directory, programs, module, arguments):
        cpio = vm.Cpio(directory / "own")
        cpio.host_file("lib/fbuf.ko", module)
        cpio.data("etc/programs", "".join(f"{line}\n" for line in programs).encode())
        settings = {"token": "@over", "interactive": "", "nic": "", "splats": "",
                    "end": "poweroff -f"}
        cpio.data("etc/vm", "".join(f"{k}={shlex.quote(v)}\n" for k, v in settings.items()).encode())
        command = f"exec env SLOWER={self.slow} guest-mutate {shlex.join(arguments)}\n"
        cpio.data("etc/command", command.encode(), 0o755)
        if self.marks:
            cpio.data("etc/zeros", ",".join("0" * len(self.marks)).encode())
        cpio.close()
        with open(directory / "initrd", "wb") as out:
            for part in [vm.base_cpio(), vm.modules_cpio(self.kernel.root, self.kernel.release),
                         self.tests_cpio(), directory / "own"]:
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, out)

    def tests_cpio(self):
        """What is the same for all mutants."""
        files = sorted(path for path in self.tests.rglob("*") if path.is_file())

        def make(path):
            cpio = vm.Cpio(path)
            cpio.host_file("init", VM / "init")
            cpio.host_file("bin/fbuf", BUILD / "user/fbuf")
            cpio.host_file("bin/guest-mutate", HERE / "guest-mutate")
            cpio.host_tree("selftests", self.tests)
            cpio.close()

        return vm.cached("mutate", [digest(path) for path in files + [
            VM / "init", VM / "run", BUILD / "user/fbuf", HERE / "guest-mutate"]], make)


def watch(process, console, judge):
    """Give the judge each line of the guest, and of its console, as they come."""
    fd, pending, seen, spoke = process.stdout.fileno(), b"", 0, time.monotonic()
    end = spoke + judge.limit
    while True:
        ready = select.select([fd], [], [], 0.2)[0]
        data = os.read(fd, 65536) if ready else b""
        lines, pending = split(pending + data)
        rest = "@over" if pending.startswith(b"@over") else ""
        for line in lines + [rest]:
            verdict = judge.over() if line.startswith("@over") else judge.line(line)
            if verdict:
                return verdict
        seen, verdict = look(console, seen, judge)
        if verdict:
            return verdict
        if data:
            spoke = time.monotonic()
        elif ready or process.poll() is not None:
            # What ran in it may have kept its end of the pipe.
            return judge.died(console.read_text(errors="replace"))
        if time.monotonic() > min(end, spoke + judge.patience()):
            return judge.silent()


def split(data):
    *lines, rest = data.split(b"\n")
    return [line.decode(errors="replace").rstrip("\r") for line in lines], rest


def look(console, seen, judge):
    """The console's new lines that are complaints."""
    data = console.read_bytes() if console.exists() else b""
    if len(data) == seen:
        return seen, None
    end = data.rfind(b"\n") + 1
    for line in data[seen:end].decode(errors="replace").splitlines():
        if re.search(vm.SPLATS, line):
            return end, judge.complaint(line)
    return max(end, seen), None
