"""What the checks of OpenCL kernels share: where things are, processes in parallel."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 77  # exit status: the check could not run here, and the output says why


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "xylem"


def program(folder, name):
    path = ROOT / folder / "tools" / name
    if not path.exists():
        sys.exit(f"{path} is not there: build it with  scripts/build.sh {folder} {name}")
    return str(path)


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(SKIPPED)


def run(command, seconds, env=None):
    """(exit status, output); status None when it took too long. At a low priority."""
    try:
        p = subprocess.run(["nice", "-n", "10"] + command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                           timeout=seconds, env=dict(os.environ, **(env or {})))
        return p.returncode, p.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode("utf-8", "replace")


def in_parallel(function, items):
    """Yields function(item) as each ends."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in concurrent.futures.as_completed([pool.submit(function, i) for i in items]):
            yield done.result()


def kernel_programs(folder, sub_group, scratch):
    """What xylem compiles on an Intel GPU with this width of sub-groups: file, options, entries, source text."""
    shapes = {p.parent.name: json.loads(p.read_text()) for p in sorted((ROOT / "bench/configs").glob("*/config.json"))}
    shapes.update(json.loads((ROOT / "tools/kernel_shapes.json").read_text()))
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "shapes.json").write_text(json.dumps(shapes))
    status, output = run([program(folder, "kernel_list"), str(sub_group), str(scratch), str(scratch / "shapes.json")], 600)
    if status != 0:
        sys.exit(f"kernel_list ended with status {status}:\n{output}")
    programs = json.loads((scratch / "kernels.json").read_text())
    for p in programs:
        p["text"] = (scratch / p["source"]).read_text()
    return programs
