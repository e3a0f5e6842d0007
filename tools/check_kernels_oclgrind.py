#!/usr/bin/env python3
"""Runs small parity cases of every OpenCL kernel under oclgrind, a simulator that sees races, reads and writes out of bounds,
barriers that not all reach and values that nobody set.

Each kernel runs in emulation (X_HW 0 of shim.clh: results are compared too) and in race-only mode (X_HW 3: lane operations
neither exchange nor synchronise, so that emulation's barriers hide no race; results are garbage and not compared), with
sub-groups of 16 and of 8. A clean run is remembered in ~/.cache/xylem/oclgrind by the sources it depends on.

Exit status: 0 clean, 1 findings, 77 oclgrind is not installed.
"""
import argparse
import hashlib
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

import kernel_checks
from kernel_checks import ROOT

FINDING = re.compile(r"data race|Invalid (read|write)|divergence|[Uu]ninitialized|OCLGRIND FATAL|breaks a restriction|does not compile|^WRONG |No such file", re.M)
MOST_BYTES = 150_000     # of a case's tensors, unless a kernel has none so small
# oclgrind 21.10 crashes in these with --uninitialized; all else is checked.
NO_UNINITIALIZED = {"gated_delta/chunks", "latent_attention/absorbed_matrix"}
MODES = [(0, 16), (3, 16), (0, 8), (3, 8)]  # (X_HW, SG)


def all_cases(folder):
    """{"op/kernel": [(bytes, name)]}, small first"""
    status, output = kernel_checks.run([kernel_checks.program(folder, "kernel_list"), "cases"], 300)
    if status != 0:
        sys.exit(f"kernel_list ended with status {status}:\n{output}")
    cases = {}
    for line in output.splitlines():
        if "\t" in line:
            name, size = line.split("\t")
            cases.setdefault(name.split(" ")[0], []).append((int(size), name))
    return {k: sorted(v) for k, v in cases.items()}


def chosen(cases, count):
    """The smallest, and others evenly from the small ones."""
    small = [name for size, name in cases if size <= MOST_BYTES] or [cases[0][1]]
    return [small[i * len(small) // count] for i in range(count)] if len(small) > count else small


def folders_of(op):
    """Folders of src/ops whose files decide what an op's kernels do."""
    sources = ROOT / "src/ops"
    own = {p.parent for p in sources.rglob("*.h") if f'kName = "{op}"' in p.read_text()}
    todo, seen = list(own), set(own)
    by_name = {p.name: p.parent for p in sources.rglob("*.cl*")}
    while todo:
        for p in todo.pop().iterdir():
            if p.suffix in (".h", ".cpp", ".cl", ".clh"):
                for name in re.findall(r'#include "([^"]+)"|"(\w+\.cl)"', p.read_text()):
                    name = "".join(name)
                    folder = by_name.get(name) or (ROOT / "src" / name).parent
                    if name.startswith("ops/") or name in by_name:
                        if folder not in seen and folder != sources:
                            seen.add(folder)
                            todo.append(folder)
    return seen


def source_hash(op):
    h = hashlib.sha256()
    files = [p for f in folders_of(op) for p in f.iterdir()] + list((ROOT / "src/ops").glob("*.cl*")) + list((ROOT / "src/device/opencl").iterdir())
    files += [ROOT / "src/device/op_spec.h", *(ROOT / "tools").glob("*.cpp"), ROOT / "tools/check_kernels_oclgrind.py"]
    for p in sorted(f for f in files if f.is_file()):
        h.update(p.name.encode() + b"\0" + p.read_bytes())
    return h.hexdigest()


def run_under(kernel_run, lanes, sub_group, cases, seconds, more=(), uninitialized=True):
    """(clean, output)"""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write("\n".join(cases) + "\n")
        f.flush()
        # Without -cl-opt-disable clang emits an instruction (freeze) that oclgrind does not know.
        command = ["oclgrind", "--data-races", "--max-errors", "8", "--local-mem-size", "131072", "--build-options", "-cl-opt-disable"]
        command += ["--uninitialized"] if uninitialized and lanes == 0 else []
        with tempfile.TemporaryDirectory() as cache:  # programs of planted bugs and of a simulator are not worth keeping
            status, output = kernel_checks.run(command + [kernel_run, "--lanes", str(lanes), "--sub-group", str(sub_group), "--cases", f.name, *more], seconds,
                                               {"XDG_CACHE_HOME": cache})
    if status is None:
        output += f"\nnot done after {seconds} s"
    elif status != 0:
        output += f"\nended with status {status}"
    return status == 0 and not FINDING.search(output), output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder")
    parser.add_argument("--cases", type=int, default=6, help="of each kernel (6)")
    parser.add_argument("--modes", default="all", help="first: emulation and race-only with sub-groups of 16 alone")
    parser.add_argument("--only", default="", help="op or op/kernel")
    parser.add_argument("--fresh", action="store_true", help="run also what was clean before")
    parser.add_argument("--seconds", type=int, default=1800, help="of one kernel in one mode")
    args = parser.parse_args()
    if not shutil.which("oclgrind"):
        kernel_checks.skip("oclgrind is not installed (scripts/deps.sh --tests installs it)")
    kernel_run = kernel_checks.program(args.build, "kernel_run")
    known = kernel_checks.cache_folder() / "oclgrind"
    jobs, before = [], 0
    for kernel, cases in all_cases(args.build).items():
        if args.only and args.only not in (kernel, kernel.split("/")[0]):
            continue
        key = source_hash(kernel.split("/")[0])
        for lanes, sub_group in MODES if args.modes == "all" else MODES[:2]:
            picked = chosen(cases, args.cases)
            stamp = known / hashlib.sha256("\0".join([key, kernel, str(lanes), str(sub_group), *picked]).encode()).hexdigest()
            if stamp.exists() and not args.fresh:
                before += 1
            else:
                jobs.append((kernel, lanes, sub_group, picked, stamp))

    def work(job):
        kernel, lanes, sub_group, picked, stamp = job
        begin = time.monotonic()
        clean, output = run_under(kernel_run, lanes, sub_group, picked, args.seconds, uninitialized=kernel not in NO_UNINITIALIZED)
        if clean and f"RAN {kernel} " not in output:
            clean, output = False, output + "\nno case ran"
        if clean:
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
        return job, clean, output, time.monotonic() - begin

    bad = 0
    for (kernel, lanes, sub_group, picked, _), clean, output, seconds in kernel_checks.in_parallel(work, jobs):
        print(f"{'clean' if clean else 'FAILED':<7}{kernel:<34} {'race-only' if lanes else 'emulation'}, {sub_group:>2} lanes: {len(picked)} cases {seconds:8.1f} s", flush=True)
        if not clean:
            bad += 1
            print("  " + "\n  ".join(output.strip().splitlines()[:60]), flush=True)
    print(f"{len(jobs) + before} runs of kernels: {bad} with findings, {before} known clean from before")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
