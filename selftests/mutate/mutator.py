#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""mutator.py FILE...: list what can be broken in C files, one thing at a time.

It reads C as the kernel is written (a function's brace in the first column, blanks
around binary operators), by tokens and not by lines, so that comments, strings and
directives are left alone. README.md has the classes and what is left out.
"""

import collections
import hashlib
import re
import sys
from pathlib import Path

TOKEN = re.compile(r"""
    (?P<skip>\s+|/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:[^\n\\]|\\.)*)
  | (?P<str>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<num>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b)
  | (?P<id>[A-Za-z_]\w*)
  | (?P<op>\.\.\.|<<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[][(){};,:?.~!=<>+\-*/%&|^])
""", re.X | re.S | re.M)

Token = collections.namedtuple("Token", "kind text start end")

# Calls that are left alone, their arguments as well, and why.
ASSERTIONS = re.compile(r"lockdep_|WARN|BUG|BUILD_BUG|static_assert|might_|trace_|pr_|printk")
LATENCY = {"cond_resched", "cpu_relax", "prefetch", "prefetchw"}
SPECULATION = {"array_index_nospec"}
ANNOTATIONS = {"sizeof", "offsetof", "typeof", "container_of", "__must_hold", "__acquires",
               "__releases", "__aligned", "__attribute__", "EXPORT_SYMBOL_GPL"}
# Numbers of effort: one more or less is as good.
TUNING = re.compile(r"_(MS|LOOKS|FAST|CHUNK)$")
FLAGS = re.compile(r"(FBUF|VM|VM_FAULT|FAULT_FLAG|POLL|EPOLL|MSG|IORING|IO_URING)_[A-Z0-9_]+$|E?POLL[A-Z]+$")
ERRNO = re.compile(r"E[A-Z0-9]+$")

BINARY = {
    "<": ("relation", ["<="]), "<=": ("relation", ["<"]),
    ">": ("relation", [">="]), ">=": ("relation", [">"]),
    "==": ("relation", ["!="]), "!=": ("relation", ["=="]),
    "&&": ("logic", ["||"]), "||": ("logic", ["&&"]),
    "+": ("arithmetic", ["-"]), "-": ("arithmetic", ["+"]),
    "*": ("arithmetic", ["+"]), "/": ("arithmetic", ["*"]), "%": ("arithmetic", ["/"]),
    "<<": ("arithmetic", [">>"]), ">>": ("arithmetic", ["<<"]),
    "&": ("bits", ["|"]), "|": ("bits", ["&"]), "^": ("bits", ["|"]),
    "+=": ("arithmetic", ["-="]), "-=": ("arithmetic", ["+="]),
    "|=": ("bits", ["&="]), "&=": ("bits", ["|="]),
    "<<=": ("arithmetic", [">>="]), ">>=": ("arithmetic", ["<<="]),
}
UNARY = {"++": ("arithmetic", "--"), "--": ("arithmetic", "++"),
         "!": ("logic", ""), "~": ("bits", "")}


def both(*pairs):
    """Each of a pair in place of the other."""
    return {**dict(pairs), **{b: a for a, b in pairs}}


LISTS = both(("list_add", "list_add_tail"), ("list_move", "list_move_tail"),
             ("list_first_entry", "list_last_entry"),
             ("list_splice_init", "list_splice_tail_init"))
LISTS.update({"list_del_init": "list_del", "list_for_each_entry": "list_for_each_entry_reverse"})
ATOMICS = both(("refcount_inc", "refcount_dec"), ("atomic_inc", "atomic_dec"),
               ("atomic_long_add", "atomic_long_sub"), ("atomic_add", "atomic_sub"),
               ("set_bit", "clear_bit"), ("__set_bit", "__clear_bit"),
               ("test_and_set_bit", "test_and_clear_bit"), ("min", "max"), ("min_t", "max_t"),
               ("this_cpu_add", "this_cpu_sub"), ("this_cpu_inc", "this_cpu_dec"))
BARRIERS = re.compile(r"smp_(mb|rmb|wmb)$|smp_mb__(before|after)_\w+$")
WEAKER = {"smp_load_acquire": "READ_ONCE", "smp_store_release": "WRITE_ONCE",
          "atomic_read_acquire": "atomic_read", "atomic_set_release": "atomic_set",
          "test_bit_acquire": "test_bit", "clear_bit_unlock": "clear_bit"}
CONSTANTS = both(("true", "false"), ("FBUF_SNAPSHOT", "FBUF_SECURED"))
CONSTANTS["FBUF_VOLATILE"] = "FBUF_SNAPSHOT"

CLASSES = ("relation", "logic", "arithmetic", "bits", "constant", "condition", "check", "call",
           "assignment", "return", "jump", "list", "atomic", "barrier")

TYPES = {"const", "static", "struct", "unsigned", "signed", "int", "long", "short", "char", "bool",
         "void", "enum", "union", "extern", "volatile", "inline", "u8", "u16", "u32", "u64",
         "size_t", "ssize_t"}
CONTROL = {"if", "while", "for", "switch", "return", "goto", "break", "continue", "do", "else",
           "case", "default"}
ASSIGNS = {"=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>="}
JUMPS = {"return", "goto", "break", "continue"}
OPEN = {"(": ")", "[": "]", "{": "}"}


class Mutant:
    """One change of a file: the bytes from start to end are to be text."""

    def __init__(self, source, function, kind, start, end, text):
        self.source, self.function, self.kind = source, function, kind
        self.start, self.end = start, end
        # Lines keep their numbers.
        self.text = text + "\n" * (source.text[start:end].count("\n") - text.count("\n"))
        first = source.text.rfind("\n", 0, start) + 1
        last = source.text.find("\n", end)
        self.line = source.text.count("\n", 0, start) + 1
        self.column = start - first
        self.before = words(source.text[first:last])
        self.after = words(source.text[first:start] + self.text + source.text[end:last])
        self.id = self.body = None

    def apply(self):
        return self.source.text[:self.start] + self.text + self.source.text[self.end:]

    @property
    def file(self):
        return self.source.path.name


def words(text):
    return " ".join(text.split())


class Source:
    """A file, as tokens; and the functions in it."""

    def __init__(self, path, text=None):
        self.path = Path(path)
        self.text = self.path.read_text(encoding="utf-8") if text is None else text
        self.tokens = list(tokenize(self.text))
        self.pairs = match_pairs(self.tokens)

    def functions(self):
        """(name, first, last): the tokens of its braces."""
        at, start = 0, 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.text == "{":
                if self.text[token.start - 1:token.start] in ("\n", ""):
                    name = self.name_of(start, at)
                    if name:
                        yield name, at, self.pairs[at]
                at = start = self.pairs[at]
            elif token.text in (";", "}"):
                start = at
            at += 1

    def name_of(self, start, end):
        """What is before the first parenthesis."""
        for at in range(start, end):
            if self.tokens[at].text == "(":
                return self.tokens[at - 1].text
        return None

    def mutants(self):
        found = []
        for name, first, last in self.functions():
            mine = Function(self, name, first, last).mutants()
            text = self.text[self.tokens[first].start:self.tokens[last].end]
            for mutant in mine:
                mutant.body = hashlib.sha256(text.encode()).hexdigest()[:16]
            found += mine
        seen = collections.Counter()
        for mutant in sorted(found, key=lambda m: (m.start, m.end, m.kind, m.text)):
            # Not by the file or the line: functions move.
            key = (mutant.function, mutant.kind, mutant.before, mutant.after)
            seen[key] += 1
            digest = hashlib.sha256(repr((key, seen[key])).encode()).hexdigest()
            mutant.id = digest[:8]
            yield mutant


def tokenize(text):
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            raise ValueError(f"no C at {text[at:at + 20]!r}")
        at = found.end()
        if found.lastgroup != "skip":
            yield Token(found.lastgroup, found[0], found.start(), at)


def match_pairs(tokens):
    pairs, stack = {}, []
    for at, token in enumerate(tokens):
        if token.text in OPEN:
            stack.append(at)
        elif token.text in OPEN.values() and token.kind == "op":
            begin = stack.pop()
            assert OPEN[tokens[begin].text] == token.text, f"no pair at {token.start}"
            pairs[begin] = at
    return pairs


class Function:
    """What can be broken in one function."""

    def __init__(self, source, name, first, last):
        self.source, self.name = source, name
        self.first, self.last = first, last
        self.tokens, self.pairs = source.tokens, source.pairs
        self.out = []
        self.cases = set()	# the : of their labels
        self.alone = self.left_alone()

    def mutants(self):
        for at in range(self.first + 1, self.last):
            if at in self.alone:
                continue
            self.operator(at)
            self.operand(at)
            self.name_swap(at)
            self.condition(at)
            if self.begins_statement(at):
                self.statement(at)
        return self.out

    def text(self, at):
        return self.tokens[at].text

    def add(self, kind, start, end, text):
        """Instead of the tokens from start to end, that included."""
        self.out.append(Mutant(self.source, self.name, kind, self.tokens[start].start,
                               self.tokens[end].end, text))

    def left_alone(self):
        """Tokens in calls that are no part of what the module does, and in labels."""
        alone = set()
        for at in range(self.first, self.last):
            name = self.text(at)
            if self.tokens[at].kind == "id" and self.text(at + 1) == "(" and (
                    ASSERTIONS.match(name) or name in LATENCY | SPECULATION | ANNOTATIONS):
                alone.update(range(at, self.pairs[at + 1] + 1))
            elif name == "case":
                end = next(i for i in range(at, self.last) if self.text(i) == ":")
                alone.update(range(at, end + 1))
                self.cases.add(end)
            elif name == "[" and self.is_declaration(self.statement_of(at)):
                if not self.initialised(at):
                    alone.update(range(at, self.pairs[at] + 1))
        return alone

    def statement_of(self, at):
        while at > self.first + 1 and self.text(at - 1) not in (";", "{", "}"):
            at -= 1
        return at

    def initialised(self, at):
        """Is it after the = of its declaration?"""
        return any(self.text(i) == "=" for i in range(self.statement_of(at), at))

    def is_declaration(self, at):
        token, after = self.tokens[at], self.tokens[at + 1]
        if token.kind != "id" or token.text in CONTROL:
            return False
        if token.text in TYPES or after.kind == "id":
            return True
        return after.text == "*" and not self.spaced(at + 1) and self.tokens[at + 2].kind == "id"

    def spaced(self, at):
        """Is it a binary operator, which has blanks on both sides?"""
        token, text = self.tokens[at], self.source.text
        return text[token.start - 1].isspace() and text[token.end].isspace()

    def operator(self, at):
        token = self.tokens[at]
        if token.kind != "op":
            return
        if token.text in BINARY and self.spaced(at):
            kind, others = BINARY[token.text]
            for other in others:
                self.add(kind, at, at, other)
        elif token.text in UNARY and not self.spaced(at):
            kind, other = UNARY[token.text]
            self.add(kind, at, at, other)
        elif token.text == "?" and self.text(at + 1) != ":":
            self.ternary(at)

    def ternary(self, at):
        """What is before a ? as far as it is one expression is negated."""
        start = at
        while self.text(start - 1) not in (";", "{", "}", ",", "=", "return", "?", ":", "(") and \
                self.text(start - 1) not in ASSIGNS:
            start -= 1
            if self.text(start) in OPEN.values():
                end = start
                start = next(i for i in range(end, self.first, -1) if self.pairs.get(i) == end)
        whole = self.source.text[self.tokens[start].start:self.tokens[at - 1].end]
        self.add("condition", start, at - 1, f"!({whole})")

    def operand(self, at):
        token = self.tokens[at]
        if token.kind == "num":
            if self.text(at - 1) == "[" and self.is_declaration(self.statement_of(at)) and \
                    not self.initialised(at):
                return
            for other in other_numbers(token.text):
                self.add("constant", at, at, other)
        elif token.kind == "id" and self.text(at + 1) != "(":
            if token.text in CONSTANTS:
                self.add("constant", at, at, CONSTANTS[token.text])
            elif self.text(at - 1) == "-" and ERRNO.match(token.text):
                self.add("constant", at, at, "EPROTO")
            elif FLAGS.match(token.text) and not TUNING.search(token.text):
                self.add("constant", at, at, "0")

    def name_swap(self, at):
        name = self.text(at)
        if self.text(at + 1) != "(":
            return
        if name in LISTS:
            self.add("list", at, at, LISTS[name])
        elif name in ATOMICS:
            self.add("atomic", at, at, ATOMICS[name])
        elif name in WEAKER:
            self.add("barrier", at, at, WEAKER[name])

    def condition(self, at):
        if self.text(at) not in ("if", "while") or self.text(at + 1) != "(":
            return
        end = self.pairs[at + 1]
        what = self.source.text[self.tokens[at + 1].end:self.tokens[end].start]
        if self.text(at) == "if" and self.text(end + 1) in JUMPS:
            self.add("check", at + 1, end, f"(false && ({what}))")
            return
        self.add("condition", at + 1, end, f"(false && ({what}))")
        # For ever is a hang, and says little.
        if self.text(at) == "if":
            self.add("condition", at + 1, end, f"(true || ({what}))")

    def begins_statement(self, at):
        before = self.text(at - 1)
        if before in (";", "{", "}", "else", "do"):
            # Not in the brackets of a for.
            return not self.in_brackets(at)
        if before == ":":
            return at - 1 in self.cases or self.tokens[at - 2].kind == "id" and self.text(at - 3) in (";", "{", "}", ":")
        if before == ")":
            begin = next(i for i in range(at - 1, self.first, -1) if self.pairs.get(i) == at - 1)
            word = self.text(begin - 1)
            return word in ("if", "while", "for", "switch") or "for_each" in word
        return False

    def in_brackets(self, at):
        return any(begin < at < end for begin, end in self.pairs.items()
                   if begin > self.first and end < self.last and self.text(begin) in "([")

    def end_of(self, at):
        """The ; of the statement, or None if it has others in it."""
        while self.text(at) != ";":
            if self.text(at) == "{" and self.text(at - 1) not in ("=", ")") or self.text(at) == "}":
                return None
            at = self.pairs.get(at, at) + 1
        return at

    def statement(self, at):
        token = self.tokens[at]
        end = self.end_of(at)
        if end is None or token.text in ("{", ";"):
            return
        if token.text == "return":
            self.returned(at, end)
        elif token.text == "continue":
            self.add("jump", at, at, "break")
        elif token.text == "break":
            self.add("jump", at, at, "continue")
        elif token.text == "goto":
            # After a condition it is a check.
            if self.text(at - 1) in (";", "}"):
                self.add("jump", at, end, ";")
        elif token.text not in CONTROL and not self.is_declaration(at):
            self.plain(at, end)

    def returned(self, at, end):
        if end - at < 2:
            return
        value = self.source.text[self.tokens[at + 1].start:self.tokens[end - 1].end]
        if value in CONSTANTS or re.fullmatch(r"-?\w+", value) and not value[0].islower():
            return
        if re.fullmatch(r"[01]|-\d+|NULL", value):
            return
        self.add("return", at + 1, end - 1, "0")

    def plain(self, at, end):
        """A call, or an assignment, that is left out."""
        name = self.text(at)
        if self.text(at + 1) == "(" and self.tokens[at].kind == "id":
            after = self.pairs[at + 1] + 1
            if after == end:
                self.add("barrier" if BARRIERS.match(name) else "call", at, end, ";")
            if after == end or self.tokens[after].kind == "id" or self.text(after) == "{":
                # The latter are loops, by macros.
                return
        inner = [self.text(i) for i in self.top_level(at, end)]
        if any(word in ASSIGNS or word in ("++", "--") for word in inner):
            # Speculation is not to be tested here.
            if not any(self.text(i) in SPECULATION for i in range(at, end)):
                self.add("assignment", at, end, ";")

    def top_level(self, at, end):
        while at < end:
            yield at
            at = self.pairs.get(at, at) + 1


def other_numbers(text):
    digits = re.match(r"(0[xX][0-9a-fA-F]+|\d+)(.*)", text)
    # C's octal is 0 and digits, which Python has another way for.
    base = 8 if re.fullmatch(r"0[0-7]+", digits[1]) else 0
    value, suffix = int(digits[1], base), digits[2]
    others = {0: [1], 1: [0, 2]}.get(value, [value - 1, value + 1])
    return [f"{other}{suffix}" for other in others]


def collect(paths):
    """All mutants of files, by id."""
    found = {}
    for path in paths:
        for mutant in Source(path).mutants():
            found.setdefault(mutant.id, mutant)
    return found


def instrument(source, number):
    """The source with a mark at the begin of each function, which tells that it ran.

    number(name) is the mark's.
    """
    parts, at = [], 0
    for name, first, _ in source.functions():
        end = source.tokens[first].end
        parts += [source.text[at:end], f" fbuf_ran[{number(name)}] = 1;"]
        at = end
    return "".join(parts) + source.text[at:]


def order(mutants, seed):
    """At random, but so that what is new elsewhere changes nothing here."""
    return sorted(mutants, key=lambda m: hashlib.sha256(f"{seed} {m.id}".encode()).hexdigest())


def main():
    for mutant in collect(sys.argv[1:]).values():
        print(f"{mutant.id} {mutant.file}:{mutant.line} {mutant.function}() {mutant.kind}")
        print(f"    - {mutant.before}\n    + {mutant.after}")


if __name__ == "__main__":
    main()
