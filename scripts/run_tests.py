"""Runs test programs and counts their tests. The last line of output is 'N passed, N failed, N skipped'.

--fuzz FOLDER SECONDS the fuzzer of that folder, beside all that is named after it
--unit FOLDER         every *_test program of a build folder
--checks              scripts/check_*.py
--kernels FOLDER      tools/check_kernels_*.py with the programs of that folder, in a form of a few minutes
--e2e FOLDER          tests/e2e against the xylem of that folder
--e2e-threads FOLDER  the part of tests/e2e that is for a ThreadSanitizer build
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNIT_SECONDS, E2E_SECONDS, KERNELS_SECONDS = 900, 1500, 1200
# Two of the six devices, one case of each kernel at 16 lanes; by themselves these programs check all. Rows and runs that were
# clean before are not repeated while the sources stay the same.
KERNEL_CHECKS = [["check_kernels_intel.py", "--quiet", "--devices", "bmg-g21,dg2-g10"],
                 ["check_kernels_oclgrind.py", "--cases", "1", "--modes", "first"],
                 ["check_kernels_mutants.py"]]
SKIPPED = 77  # their exit status when they cannot run here


class Outcome:
    def __init__(self, name, passed=0, failed=0, skipped=(), output="", seconds=0.0):
        self.name, self.passed, self.failed, self.skipped = name, passed, failed, list(skipped)
        self.output, self.seconds = output, seconds


def run(command, seconds, env=None):
    """(exit status, output); a program that takes too long is ended, with status None."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        out.seek(0)
        return status, out.read().decode("utf-8", "replace")


def test_programs(folder):
    """What CMake knows: a program left over from a test that is gone does not count."""
    listed = subprocess.run(["ctest", "--test-dir", folder, "--show-only=json-v1"], cwd=ROOT, capture_output=True, check=True)
    return [t["command"][0] for t in json.loads(listed.stdout)["tests"]]


def unit(program):
    name = pathlib.Path(program).parent.name + "/" + pathlib.Path(program).name
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        status, output = run([program, f"--gtest_output=json:{report}", "--gtest_brief=1"], UNIT_SECONDS)
        seconds = time.monotonic() - begin
        try:
            tests = [t for suite in json.loads(report.read_text())["testsuites"] for t in suite["testsuite"]]
        except (OSError, ValueError):
            tests = []
    failed = [t for t in tests if t.get("failures")]
    skipped = [f"{t['classname']}.{t['name']}" for t in tests if t["result"] in ("SKIPPED", "SUPPRESSED")]
    crashed = status != 0 and not failed
    if crashed:
        output += f"\n{name}: " + ("took too long" if status is None else f"ended with status {status}")
    return Outcome(name, len(tests) - len(failed) - len(skipped), len(failed) + crashed, skipped, output if failed or crashed else "", seconds)


def check(script):
    begin = time.monotonic()
    status, output = run([sys.executable, str(script)], 60)
    return Outcome(f"scripts/{script.name}", int(status == 0), int(status != 0), (), output if status else "", time.monotonic() - begin)


def kernels(command, folder):
    begin = time.monotonic()
    name = f"tools/{command[0]}"
    status, output = run([sys.executable, f"tools/{command[0]}", *command[1:], "--build", folder], KERNELS_SECONDS)
    seconds = time.monotonic() - begin
    if status == SKIPPED:
        return Outcome(name, skipped=[(output.strip().splitlines() or [name])[-1]], seconds=seconds)
    notices = "\n".join(line for line in output.splitlines() if line.startswith("NOTICE"))
    if status is None:
        output += f"\n{name}: took too long"
    return Outcome(name, int(status == 0), int(status != 0), (), output if status else notices, seconds)


def fuzz(folder, seconds):
    """Another seed every time. What it finds beyond the seeds is not kept; a crash is, and its message says where."""
    begin = time.monotonic()
    name, kept = f"{folder}/image_fuzz", ROOT / folder / "fuzz"
    if not (ROOT / name).exists():
        return Outcome(name, 0, 1, (), f"{name} is not built: clang and libclang-rt-14-dev were not there when CMake looked")
    kept.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as found:
        status, output = run([str(ROOT / name), f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20", "-print_final_stats=1", "-verbosity=0",
                              f"-artifact_prefix={kept}/", found, str(ROOT / "tests/golden/images")], seconds + 120)
    if status is None:
        output += f"\n{name}: took too long"
    return Outcome(name, int(status == 0), int(status != 0), (), output if status else "", time.monotonic() - begin)


def python_with_client():
    """A Python that has the packages of tests/e2e/requirements.txt, or this one where PyPI cannot be reached."""
    requirements = ROOT / "tests/e2e/requirements.txt"
    venv = ROOT / "build/venv"
    stamp = venv / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    python = venv / "bin/python"
    if not stamp.exists():
        steps = [[sys.executable, "-m", "venv", "--clear", str(venv)],
                 [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1", "--timeout", "15", "-r", str(requirements)]]
        for step in steps:
            status, output = run(step, 300)
            if status != 0:
                print("NOTICE: PyPI is not reachable, so the tests with the official openai client are skipped:")
                print("  " + (output.strip().splitlines() or ["no output"])[-1])
                return sys.executable
        stamp.touch()
    return str(python)


def e2e(folder, tag, name):
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        env = dict(os.environ, XYLEM_BINARY=str(ROOT / folder / "xylem"), PYTHONDONTWRITEBYTECODE="1")
        status, output = run([python_with_client(), "tests/e2e/run.py", "--report", str(report)] + tag, E2E_SECONDS, env)
        try:
            r = json.loads(report.read_text())
        except (OSError, ValueError):
            return Outcome(name, 0, 1, (), output + f"\n{name}: ended with status {status}", time.monotonic() - begin)
    return Outcome(name, r["passed"], r["failed"], r["skipped"], output if r["failed"] else "", time.monotonic() - begin)


def show(outcome):
    word = "FAILED" if outcome.failed else "ok"
    print(f"{word:<7}{outcome.name:<34}{outcome.passed:>6} passed{outcome.failed:>5} failed{len(outcome.skipped):>5} skipped{outcome.seconds:>8.1f} s")
    for name in outcome.skipped:
        print(f"       skipped: {name}")
    if outcome.output:
        print(outcome.output.rstrip())
    sys.stdout.flush()
    return outcome


def main():
    arguments = sys.argv[1:]
    outcomes, beside = [], []
    background = concurrent.futures.ThreadPoolExecutor()
    while arguments:
        what = arguments.pop(0)
        if what == "--fuzz":
            beside.append(background.submit(fuzz, arguments.pop(0), int(arguments.pop(0))))
        elif what == "--unit":
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                outcomes += [show(o) for o in pool.map(unit, test_programs(arguments.pop(0)))]
        elif what == "--checks":
            outcomes += [show(check(s)) for s in sorted((ROOT / "scripts").glob("check_*.py"))]
        elif what == "--kernels":
            folder = arguments.pop(0)
            outcomes += [show(kernels(c, folder)) for c in KERNEL_CHECKS]
        elif what == "--e2e":
            outcomes.append(show(e2e(arguments.pop(0), [], "tests/e2e")))
        elif what == "--e2e-threads":
            outcomes.append(show(e2e(arguments.pop(0), ["--tag", "threads"], "tests/e2e (ThreadSanitizer)")))
        else:
            sys.exit(f"run_tests.py: unknown argument {what}")
    outcomes += [show(future.result()) for future in beside]
    failed = sum(o.failed for o in outcomes)
    print(f"{sum(o.passed for o in outcomes)} passed, {failed} failed, {sum(len(o.skipped) for o in outcomes)} skipped")
    sys.exit(1 if failed else 0)


main()
