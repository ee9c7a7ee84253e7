# SPDX-License-Identifier: LGPL-2.1-or-later
"""unittest whose results are TAP, as those of all other tests are."""

import sys
import unittest


class _Result(unittest.TestResult):
    def __init__(self, name):
        super().__init__()
        self.name, self.nr, self.bad_part = name, 0, False

    def _say(self, word, test, more=""):
        self.nr += 1
        print(f"{word} {self.nr} {self.name}: {test.id().partition('test_')[2]}{more}", flush=True)

    def addSuccess(self, test):
        self._say("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._say("ok", test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(test, self.failures)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(test, self.errors)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self._why(f"{subtest}\n" + self._exc_info_to_string(err, test))
            self.bad_part = True

    def stopTest(self, test):
        if self.bad_part:
            self._say("not ok", test)
        self.bad_part = False

    def _bad(self, test, where):
        self._why(where[-1][1])
        self._say("not ok", test)

    @staticmethod
    def _why(text):
        print(*(f"# {line}" for line in text.splitlines()), sep="\n")


def main(name):
    """Run the tests of the program, or those that the command line names."""
    loader, module = unittest.defaultTestLoader, sys.modules["__main__"]
    tests = (loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:]
             else loader.loadTestsFromModule(module))
    print("TAP version 13")
    print(f"1..{tests.countTestCases()}", flush=True)
    result = _Result(name)
    tests.run(result)
    # What failed before the first test of a class has no line of its own.
    sys.exit(not result.wasSuccessful() or result.nr != tests.countTestCases())
