"""Runs the end-to-end tests: run.py [--report FILE] [--tag TAG] [NAME...]. XYLEM_BINARY names the program (default: build/xylem).

A NAME picks the tests whose id contains it. A tag picks the classes that have it."""
import argparse
import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


class Result(unittest.TextTestResult):
    passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def stopTest(self, test):
        super().stopTest(test)
        self.stream.writeln(f"    {time.monotonic() - self.begin:.1f} s")


def tests_of(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests_of(t)
        else:
            yield t


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--report")
    parser.add_argument("--tag")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    found = unittest.defaultTestLoader.discover(str(pathlib.Path(__file__).parent), pattern="test_*.py")
    wanted = [t for t in tests_of(found)
              if (not options.tag or options.tag in getattr(t, "tags", ())) and (not options.names or any(n in t.id() for n in options.names))]
    result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Result).run(unittest.TestSuite(wanted))
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = [f"{t.id()}: {reason}" for t, reason in result.skipped]
    if options.report:
        pathlib.Path(options.report).write_text(json.dumps({"passed": result.passed, "failed": failed, "skipped": skipped}))
    sys.exit(1 if failed else 0)


main()
