"""Each folder of src/ includes only what the architecture lets it (docs/ARCHITECTURE.md)."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# In reading order. A folder may include itself, the folders named, and single headers named by path.
ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "cache": ["base"],
    "sched": ["base", "cache"],
    "device": ["base", "tensor"],
    "ops": ["base", "tensor", "device"],
    "vision": ["base"],
    "nn": ["base", "tensor", "device", "ops", "cache/layout.h", "vision/patches.h"],
    "models": ["base", "tensor", "device", "ops", "nn", "cache/layout.h", "vision/patches.h"],
    "weights": ["base", "tensor", "device", "ops", "nn", "cache/layout.h"],
    "text": ["base"],
    "runtime": ["base", "tensor", "cache", "sched", "device", "ops", "vision", "nn", "models", "weights"],
    "server": ["base", "text", "vision", "runtime/engine.h"],
    # The command line shows and measures every part.
    "cli": ["base", "tensor", "cache", "device", "vision", "nn", "weights", "text", "server", "runtime/engine.h"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def main():
    wrong = []
    for path in sorted((ROOT / "src").rglob("*")):
        parts = path.relative_to(ROOT / "src").parts
        if path.suffix not in (".h", ".cpp") or len(parts) < 2:  # OpenCL sources include by bare names
            continue
        folder = parts[0]
        if folder not in ALLOWED:
            wrong.append(f"src/{folder}: not a folder of the architecture; add it to docs/ARCHITECTURE.md and to this script")
            continue
        for header in INCLUDE.findall(path.read_text()):
            target = header.split("/")[0]
            if target != folder and target not in ALLOWED[folder] and header not in ALLOWED[folder]:
                wrong.append(f"{path.relative_to(ROOT)}: includes {header}; {folder}/ may include {', '.join(ALLOWED[folder]) or 'nothing'}")
    if wrong:
        sys.exit("\n".join(dict.fromkeys(wrong)))


main()
