#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_binding.py [CLASS[.TEST]...]: the Python module against the headers: structures,
constants, functions; and whether anything there keeps other languages from the library.
TAP out. CC is the compiler."""

# pylint: disable=protected-access,exec-used # it looks inside

import ctypes
import os
import re
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import fbuf
import tap

TOP = Path(__file__).resolve().parent.parent.parent
CC = os.environ.get("CC", "cc").split()
FLAGS = [f"-I{TOP}/include", f"-I{TOP}/include/uapi", "-std=gnu11", "-D_GNU_SOURCE"]
HEADERS = sorted(f"fbuf/{path.name}" for path in (TOP / "include/fbuf").glob("*.h"))
INCLUDES = "".join(f"#include <{name}>\n" for name in HEADERS)

# Functions of the library that the module does without, and why.
SIZED = "what is _sized does it"
LEFT_OUT = {
    "fbuf_pool_create": SIZED,
    "fbuf_pool_create_on": SIZED,
    "fbuf_pool_create_with": SIZED,
    "fbuf_pool_info": SIZED,
    "fbuf_pool_share": "fbuf_pool_share_flags() does it",
    "fbuf_fill": "fbuf_fill_at() does it",
    "fbuf_recv": "fbuf_recv_head() does it",
    "fbuf_parcel_show": "View.pieces() has what is shown, and keeps it",
    "fbuf_parcel_addr": "View.pieces() has what is shown, and keeps it",
    "fbuf_send": "fbuf_send_datagrams() does it",
    "fbuf_sendto": "fbuf_send_datagrams() does it",
    "fbuf_uring_send": SIZED,
    "fbuf_uring_send_sized": "Python has no io_uring; a binding of liburing calls it",
    "fbuf_uring_fanout": SIZED,
    "fbuf_uring_fanout_sized": "Python has no io_uring; a binding of liburing calls it",
    "fbuf_heap_create": SIZED,
    "fbuf_heap_of": "a memoryview knows its heap",
    "fbuf_queue_view": "fbuf_queue_view_with() does it",
    "fbuf_queue_sock": "a Queue knows its socket",
    "fbuf_queue_notices_wait": "select() on Heap.notices_fd(), then Heap.notices()",
    "fbuf_queue_prep": "Python has no io_uring",
    "fbuf_queue_done": "Python has no io_uring",
    "fbuf_view_own": "View.wrap() keeps a Memory",
    "fbuf_view_buf": "View.wrap() keeps a Buffer",
    "fbuf_view_retain_many": "each View has a reference of its own",
    "fbuf_view_release_many": "each View has a reference of its own",
    "fbuf_view_on_release": "weakref.finalize() is Python's",
    "fbuf_view_slice": "each View has a reference of its own",
    "fbuf_view_duplicate": "each View has a reference of its own",
    "fbuf_view_read_slice": "each View has a reference of its own",
    "fbuf_view_on_report": "it may be called when Python has ended",
    "fbuf_view_data": "View.pieces() has it",
    "fbuf_view_compare": "bytes() of a View can be compared",
    "fbuf_view_component_index": "the lengths of components add up to it",
    "fbuf_view_component_at": "the lengths of components add up to it",
    "fbuf_heap_realloc": "views of the old memory may be there: allocate, and copy",
}

# Constants likewise: patterns.
CONSTANTS_LEFT_OUT = {
    r"DEVICE|MMAP_\w+|IOC_\w+|RING_ENTRIES|NAME_MAX": "only of the ABI",
    r"POOL_OPTIONS_INIT": "what Pool() has by itself",
    r"FBUF_H|[A-Z]+_H": "guards of headers",
}

# Macros that are functions: a binding does the arithmetic itself, or needs them not.
MACROS = {"FBUF_NAME", "FBUF_NAME_INDEX", "FBUF_NAME_GEN", "FBUF_SEG_OFFSET"}

# Inline functions likewise: a name of a parcel has NAME_PARCEL in it.
INLINE = {"fbuf_is_parcel"}

SCALARS = {
    "int": "i", "unsigned int": "u", "size_t": "z", "ssize_t": "s", "uint64_t": "U",
    "uint32_t": "u", "socklen_t": "u", "off_t": "o", "void": "v", "unsigned": "u",
}
# Several are one on some machines.
CTYPES = {}
for _type, _letter in ((ctypes.c_int, "i"), (ctypes.c_uint, "u"), (ctypes.c_size_t, "z"),
                       (ctypes.c_ssize_t, "s"), (ctypes.c_long, "o"), (ctypes.c_uint64, "U"),
                       (None, "v")):
    CTYPES[_type] = CTYPES.get(_type, "") + _letter


def program(text):
    """What a program of C prints."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "program.c"
        source.write_text("#include <stddef.h>\n#include <stdio.h>\n" + INCLUDES
                          + "int main(void)\n{\n" + text + "return 0; }\n", encoding="utf-8")
        subprocess.run([*CC, *FLAGS, "-w", "-o", f"{folder}/program", source], check=True)
        return subprocess.run([f"{folder}/program"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout


def headers():
    """Our own headers' text, without comments and what the preprocessor reads."""
    text = "".join((TOP / "include" / name).read_text(encoding="utf-8") for name in HEADERS)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^#.*(?:\\\n.*)*$", "", text, flags=re.M)
    return text.replace("\\\n", " ")


def split(arguments):
    """At the commas between them."""
    parts, depth, part = [], 0, ""
    for c in arguments:
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            parts.append(part)
            part = ""
        else:
            part += c
    return [*parts, part]


def kind(text, result=False):
    """Of a type, with the name of an argument or without: a letter, p for pointers."""
    text = " ".join(text.replace("const ", " ").split())
    if "*" in text or "(" in text:
        return "p"
    if not result:
        text = text if text in SCALARS else text.rpartition(" ")[0]
    return SCALARS[text]


def declarations():
    """Of all functions: whether it is inline, and what it returns and takes."""
    text = headers().replace('extern "C" {', "")
    count = 1
    while count:
        text, count = re.subn(r"\{[^{}]*\}", ";", text)
    found = {}
    for part in text.replace("}", "").split(";"):
        m = re.fullmatch(r"\s*(static __inline__ )?\s*([^()]*?)(fbuf_\w+)\((.*)\)(?:\s*__.*)?\s*", part,
                         re.S)
        if m and not part.lstrip().startswith("typedef"):
            inline, result, name, arguments = m.groups()
            types = [] if arguments.strip() == "void" else [kind(a) for a in split(arguments)]
            found[name] = (bool(inline), kind(result, True), types)
    return found


def symbols():
    text = (TOP / "user/lib/libfbuf.map").read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(fbuf_\w+);$", text, re.M))


def constants():
    """Names of macros with a value, without FBUF_."""
    text = subprocess.run([*CC, *FLAGS, "-E", "-dM", "-x", "c", "-"], input=INCLUDES, text=True,
                          stdout=subprocess.PIPE, check=True).stdout
    out = "|".join(CONSTANTS_LEFT_OUT)
    return [name for name in re.findall(r"^#define FBUF_(\w+) ", text, re.M)
            if not re.fullmatch(out, name)]


class Structures(unittest.TestCase):
    ours = [c for c in vars(fbuf).values() if isinstance(c, type) and hasattr(c, "_c_name_")]

    def test_structures_are_laid_out_as_in_c(self):
        text = "".join(
            f'printf("%zu", sizeof({c._c_name_}));\n' + "".join(
                f'printf(" %zu %zu", offsetof({c._c_name_}, {n}), sizeof((({c._c_name_} *)0)->{n}));\n'
                for n in map(in_c, c._fields_)) + 'puts("");\n' for c in self.ours)
        lines = program(text).splitlines()
        self.assertGreater(len(lines), 5)
        for c, line in zip(self.ours, lines):
            want = [ctypes.sizeof(c)]
            for name, *_ in c._fields_:
                field = getattr(c, name)
                want += [field.offset, field.size]
            self.assertEqual(list(map(int, line.split())), want, c._c_name_)

    def test_fields_have_the_same_sign(self):
        lines = program("".join(
            f'printf("%d\\n", (__typeof__((({c._c_name_} *)0)->{in_c(f)}))-1 < 0);\n'
            for c in self.ours for f in c._fields_ if is_number(f))).split()
        have = [str(int(f[1](-1).value < 0)) for c in self.ours for f in c._fields_
                if is_number(f)]
        self.assertEqual(lines, have)


def in_c(field):
    return field[0].rstrip("_")


def is_number(field):
    return issubclass(field[1], ctypes._SimpleCData) and field[1] is not ctypes.c_void_p


class Constants(unittest.TestCase):
    def test_constants_are_those_of_the_headers(self):
        names = constants()
        self.assertGreater(len(names), 40)
        self.assertEqual([n for n in names if not hasattr(fbuf, n)], [])
        lines = program("".join(f'printf("%llu\\n", (unsigned long long)FBUF_{n});\n'
                                for n in names)).split()
        self.assertEqual(dict(zip(names, map(int, lines))), {n: getattr(fbuf, n) for n in names})


class Functions(unittest.TestCase):
    def test_prototypes_are_those_of_the_headers(self):
        declared = declarations()
        for name, (result, *arguments) in fbuf._FUNCTIONS.items():
            with self.subTest(name):
                _, returns, takes = declared[name]
                have = [CTYPES.get(c, "p") for c in (result, *arguments)]
                self.assertEqual(len(have), 1 + len(takes))
                for want, can in zip([returns, *takes], have):
                    self.assertIn(want, can)

    def test_types_are_as_wide_as_in_c(self):
        names = [n for n in SCALARS if n != "void"]
        sizes = map(int, program("".join(f'printf("%zu\\n", sizeof({n}));\n' for n in names)).split())
        for name, size in zip(names, sizes):
            for c, letters in CTYPES.items():
                if SCALARS[name] in letters:
                    self.assertEqual(ctypes.sizeof(c), size, name)

    def test_functions_are_bound_or_left_out_with_a_reason(self):
        bound, out, there = set(fbuf._FUNCTIONS), set(LEFT_OUT), symbols()
        self.assertGreater(len(there), 50)
        self.assertEqual(there - bound - out, set(), "neither bound nor left out")
        self.assertEqual(bound & out, set(), "both")
        self.assertEqual((bound | out) - there, set(), "not of the library")

    def test_bound_functions_are_used(self):
        source = Path(fbuf.__file__).read_text(encoding="utf-8")
        unused = [n for n in fbuf._FUNCTIONS if not re.search(rf"_lib\.{n}\b", source)]
        self.assertEqual(unused, [])


class Headers(unittest.TestCase):
    """What keeps other languages from a library."""

    def test_what_is_declared_is_exported(self):
        plain = {name for name, (inline, *_) in declarations().items() if not inline}
        self.assertEqual(plain - symbols(), set(), "declared, and not exported")
        self.assertEqual(symbols() - set(declarations()), set(), "exported, and not declared")

    def test_inline_functions_have_a_plain_one_beside_them(self):
        inline = {name for name, (is_inline, *_) in declarations().items() if is_inline}
        self.assertEqual(INLINE - inline, set())
        self.assertGreater(len(inline), 3)
        self.assertEqual({n for n in inline - INLINE if not {f"{n}_sized", without_with(n)} & symbols()},
                         set())

    def test_macros_are_constants(self):
        text = subprocess.run([*CC, *FLAGS, "-E", "-dM", "-x", "c", "-"], input=INCLUDES,
                              text=True, stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(set(re.findall(r"^#define (FBUF_\w+)\(", text, re.M)), MACROS)

    def test_structures_are_plain(self):
        """No bits, no unions, no variable length, nothing packed or aligned; nor are they
        given by value, or functions have any number of arguments."""
        text = headers() + re.sub(r"/\*.*?\*/", " ", (TOP / "include/uapi/linux/fbuf.h").read_text(
            encoding="utf-8"), flags=re.S)
        for what, bad in (("bits", r"\w\s*:\s*\d+\s*;"), ("union", r"\bunion\b"),
                          ("flexible", r"\[\s*\]\s*;"), ("attribute", r"\b(packed|aligned)\b"),
                          ("any number", r"\.\.\.\s*\)"), ("long double", r"long double"),
                          ("enum", r"\benum\b"),
                          ("by value", r"\bstruct fbuf_\w+ \w+\s*[,)]")):
            self.assertEqual(re.findall(bad, text), [], what)


class Manual(unittest.TestCase):
    def test_examples_run(self):
        page = (TOP / "Documentation/man/fbuf_python.3").read_text(encoding="utf-8")
        blocks = re.findall(r"^\.EX\n(.*?)^\.EE$", page.partition(".SH EXAMPLES")[2], re.M | re.S)
        first, second = (block.replace("\\e", "\\") for block in blocks)
        with socket.create_server(("localhost", 0)) as server:
            names = {}
            exec(first.replace("8000", str(server.getsockname()[1])), names)
            far, _ = server.accept()
            names["sock"].close()
            with far, far.makefile("rb") as file:
                self.assertEqual(file.read(), b"5\nhello")
        near, far = socket.socketpair()
        with near, far, fbuf.Pool(16384, 16) as pool, pool.heap() as heap:
            exec(second, names)
            names["serve"](heap, None, near, b"body" * 100).close()
            near.shutdown(socket.SHUT_WR)
            with far.makefile("rb") as file:
                self.assertEqual(file.read(), b"HTTP/1.0 200 OK\r\n\r\n" + b"body" * 100)

    def test_classes_and_methods_are_named(self):
        page = (TOP / "Documentation/man/fbuf_python.3").read_text(encoding="utf-8")
        for cls in (fbuf.Pool, fbuf.Buffer, fbuf.Gather, fbuf.Heap, fbuf.Memory, fbuf.Queue,
                    fbuf.Map, fbuf.Parcel):
            for name in vars(cls):
                if not name.startswith("_"):
                    self.assertRegex(page, rf"\b{name}\b", cls)


def without_with(name):
    return name.replace("_with", "") + "_sized"


if __name__ == "__main__":
    tap.main("binding")
