#!/usr/bin/env python3
"""Compiles every program that xylem gives to Intel's driver with Intel's offline compiler, and checks what comes out.

The programs and their options come from xylem itself (tools/kernel_list): all cases of all ops, and the steps of released
models. Each must compile for every device of its class, neither spill nor use private memory, and matrix kernels must hold
their dpas inside a loop. The compiler is Debian sid's intel-ocloc, unpacked into ~/.cache/xylem/ocloc (258 MB) through apt-get;
nothing is installed. Rows are kept there by source, options, device and compiler.

Exit status: 0 all well, 1 a row fails, 77 the compiler cannot be had.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import kernel_checks

DEVICES = {16: ["bmg-g21", "lnl-m", "ptl-h", "pvc"], 8: ["dg2-g10", "arl-h"]}
# Kernels that are there for the sake of matrix instructions. A file that uses fragments must be named here.
MATRIX = {"matmul_mad.cl": ["matmul_mad"], "attention_matrix.cl": ["attention"], "latent_attention_matrix.cl": ["latent_attend"]}
FRAGMENTS = re.compile(r"\bmad8\(")

APT_CONF = """Dir::State "{d}/state";
Dir::Cache "{d}/cache";
Dir::Etc::sourcelist "{d}/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::status "{d}/state/status";
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
"""
# Its own loader and libraries: sid's are newer than the system's.
OCLOC = """#!/bin/bash
d=$(cd "$(dirname "$0")" && pwd)
lib=$d/root/usr/lib/x86_64-linux-gnu
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$(ls "$d"/root/usr/bin/ocloc* | sort -V | tail -1)" "$@"
"""


def debian_mirror():
    text = ""
    for p in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]:
        text += p.read_text(errors="replace") + "\n" if p.is_file() else ""
    found = re.search(r"https?://\S+/debian/?(?=\s)", text)
    return found[0] if found else None


def fetch_ocloc(folder):
    """Unpacks the compiler into the folder, or says why not."""
    mirror = debian_mirror()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb") or not mirror or not os.path.exists(keyring):
        return "there is no apt-get with a Debian mirror to get intel-ocloc from"
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        for d in ("state/lists/partial", "cache/archives/partial", "etc", "root"):
            (part / d).mkdir(parents=True)
        (part / "state/status").touch()
        (part / "etc/sources.list").write_text(f"deb [signed-by={keyring}] {mirror} sid main\n")
        (part / "apt.conf").write_text(APT_CONF.format(d=part))
        for step in (["update"], ["-y", "install", "--download-only", "intel-ocloc", "libigc2", "libigdfcl2"]):
            status, output = kernel_checks.run(["apt-get", "-q", "-c", str(part / "apt.conf")] + step, 400)
            if status != 0:
                return "apt-get cannot fetch intel-ocloc of Debian sid: " + (output.strip().splitlines() or ["no output"])[-1]
        for deb in (part / "cache/archives").glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(part / "root")], check=True)
        shutil.rmtree(part / "cache")
        shutil.rmtree(part / "state")
        (part / "ocloc").write_text(OCLOC)
        (part / "ocloc").chmod(0o755)
        os.rename(part, folder)
    except (OSError, subprocess.CalledProcessError) as e:
        return f"intel-ocloc cannot be unpacked: {e}"
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return None


def compiler():
    """(command, text that changes with its version)"""
    folder = kernel_checks.cache_folder() / "ocloc"
    if not (folder / "ocloc").exists():
        print("fetching Intel's offline compiler (intel-ocloc of Debian sid)", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        why = fetch_ocloc(folder)
        if why and not (folder / "ocloc").exists():
            kernel_checks.skip(why)
    libraries = sorted(p.name for p in (folder / "root/usr/lib/x86_64-linux-gnu").glob("libig*") if not p.is_symlink())
    return str(folder / "ocloc"), " ".join(libraries + sorted(p.name for p in (folder / "root/usr/bin").glob("ocloc*")))


def loops(lines):
    """Ranges of lines from a label to a branch back to it."""
    labels, found = {}, []
    for i, line in enumerate(lines):
        m = re.match(r"(\w+):", line)
        if m:
            labels[m[1]] = i
        elif re.search(r"\b(jmpi|goto|while|brd)\b", line):
            found += [(labels[w], i) for w in re.findall(r"\b(?:L\d+|_\w+)\b", line) if w in labels]
    return found


def read_asm(text):
    """(kernel, registers, dpas, dpas within loops)"""
    lines = [line for line in text.splitlines() if not line.startswith("//")]
    dpas = [i for i, line in enumerate(lines) if re.search(r"\bdpasw?\.", line)]
    ranges = loops(lines)
    return (re.search(r"^//\.kernel (\S+)", text, re.M)[1], int(re.search(r"numGRF=(\d+)", text)[1]), len(dpas),
            sum(any(a <= i <= b for a, b in ranges) for i in dpas))


def read_zeinfo(text):
    """Memory of each kernel beside its registers: {kernel: [bytes of spills, bytes of private memory]}"""
    memory, name = {}, None
    for line in text.splitlines():
        if re.match(r"(kernels_misc_info|functions|global_host_access_table):", line):
            break
        m = re.match(r"  - name: +'?(\S+?)'?$", line)
        if m:
            name = m[1]
            memory[name] = [0, 0]
        m = re.match(r"\s+(spill_size|private_size): +(\d+)", line)
        if m:
            memory[name][m[1] == "private_size"] += int(m[2])
    return memory


def compile_program(ocloc, p, device):
    """{"error": text or None, "kernels": {entry: [registers, spills, private, dpas, dpas in loops]}}"""
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        (d / "k.cl").write_text(p["text"])
        status, output = kernel_checks.run([ocloc, "compile", "-file", str(d / "k.cl"), "-device", device, "-out_dir", str(d / "out"), "-options", p["options"]], 300,
                                           {"IGC_ShaderDumpEnable": "1", "IGC_DumpToCustomDir": str(d / "dump")})
        info = list((d / "dump").glob("*.zeinfo"))
        if status != 0 or not info or not list((d / "out").glob("*.bin")):
            return {"error": f"does not compile (status {status}): " + "\n".join(output.strip().splitlines()[:12]), "kernels": {}}
        memory = read_zeinfo(info[-1].read_text())
        kernels = {}
        for asm in sorted((d / "dump").glob("*.asm"), key=lambda f: f.stat().st_mtime_ns):  # a kernel that was compiled again counts as it was last
            name, *row = read_asm(asm.read_text(errors="replace"))
            if name in memory:
                kernels[name] = [row[0], *memory[name], *row[1:]]
        return {"error": None, "kernels": kernels}


def cached(ocloc, version, fresh, p, device):
    key = hashlib.sha256("\0".join(["1", version, device, p["options"], p["text"]]).encode()).hexdigest()
    path = kernel_checks.cache_folder() / "ocloc-rows" / f"{key}.json"
    if not fresh:
        try:
            return json.loads(path.read_text()), True
        except (OSError, ValueError):
            pass
    row = compile_program(ocloc, p, device)
    if not row["error"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(row))
        os.replace(part, path)
    return row, False


def shown_options(options):
    """Those of the call: not what every program of the device gets."""
    return " ".join(o for o in options.split() if not re.match(r"-cl-std|-DSG=|-DX_|-cl-intel-greater", o)).replace("-cl-intel-256-GRF-per-thread", "256-GRF")


def problems(p, row):
    if row["error"]:
        return [row["error"]]
    found = []
    for entry in p["entries"]:
        if entry not in row["kernels"]:
            found.append(f"{entry}: the compiler made no such kernel")
            continue
        _, spill, private, dpas, in_loops = row["kernels"][entry]
        if spill:
            found.append(f"{entry}: spills {spill} bytes")
        if private:
            found.append(f"{entry}: uses {private} bytes of private memory")
        if entry in MATRIX.get(p["file"], []) and not in_loops:
            found.append(f"{entry}: {dpas} dpas, none in a loop: the matrix instructions are gone")
    return found


def check_matrix_list():
    for path in sorted((kernel_checks.ROOT / "src").rglob("*.cl")):
        if FRAGMENTS.search(path.read_text()) and path.name not in MATRIX and path.name != "lane_probe.cl":  # tests the device itself, when it is opened
            sys.exit(f"{path.name} uses fragments: name its matrix kernels in MATRIX of tools/check_kernels_intel.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder")
    parser.add_argument("--devices", help="some of " + ", ".join(sum(DEVICES.values(), [])))
    parser.add_argument("--fresh", action="store_true", help="compile all again")
    parser.add_argument("--quiet", action="store_true", help="no table, failures alone")
    args = parser.parse_args()
    wanted = args.devices.split(",") if args.devices else sum(DEVICES.values(), [])
    check_matrix_list()
    ocloc, version = compiler()
    jobs = []
    with tempfile.TemporaryDirectory() as scratch:
        for sub_group, devices in DEVICES.items():
            if set(devices) & set(wanted):
                programs = kernel_checks.kernel_programs(args.build, sub_group, pathlib.Path(scratch) / str(sub_group))
                jobs += [(p, d) for p in programs for d in devices if d in wanted]
    rows, bad, compiled = [], [], 0
    for (p, device), (row, was_cached) in kernel_checks.in_parallel(lambda j: (j, cached(ocloc, version, args.fresh, *j)), jobs):
        compiled += not was_cached
        found = problems(p, row)
        where = f"{device:<8} {p['file']} {shown_options(p['options'])}"
        bad += [f"FAILED {where}: {f}" for f in found]
        rows += [(p["file"], entry, shown_options(p["options"]), device, row["kernels"].get(entry)) for entry in p["entries"]]
    if not args.quiet:
        print(f"{'device':<8} {'GRF':>4} {'spill':>6} {'private':>7} {'dpas':>5} {'in loops':>8}  kernel")
        for file, entry, options, device, k in sorted(rows, key=lambda r: r[:4]):
            if k:
                print(f"{device:<8} {k[0]:>4} {k[1]:>6} {k[2]:>7} {k[3]:>5} {k[4]:>8}  {file} {entry} {options}")
    print("\n".join(sorted(bad)) + "\n" if bad else "", end="")
    print(f"{len(jobs)} programs with {len(rows)} kernels on {', '.join(wanted)}: {len(bad)} failures ({compiled} compiled, {len(jobs) - compiled} known from before)")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
