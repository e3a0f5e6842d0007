#!/usr/bin/env python3
"""Plants a bug at a time in the kernels' sources: each must be seen by the check that it names, or the check is worth nothing.

  parity     the parity case on PoCL
  emulation  oclgrind, lanes emulated: results, uninitialised values, bounds
  race-only  oclgrind, lane operations that neither exchange nor synchronise: races and bounds
  intel      tools/check_kernels_intel.py's rules on one program and device

The same case must be clean without the bug. A bug whose text is no longer in the file exactly once is a failure: move it to where
the text went. Checks that cannot run here (no PoCL, oclgrind or compiler) are left out with a notice.

Exit status: 0 every bug is seen, 1 some are not, 77 nothing could be run.
"""
import argparse
import json
import pathlib
import re
import shutil
import sys
import tempfile

import check_kernels_intel
import check_kernels_oclgrind
import kernel_checks
from kernel_checks import ROOT

# what is planted, check, what it must report, case (intel: file, a part of the options, device), file, text, text instead
MUTANTS = [
    ("a barrier between scores and softmax is gone", "race-only", r"data race[^$]*Kernel: attention", "attention/matrix bfloat16 dim 8",
     "attention_matrix.cl", ": -INFINITY;\n          }\n        }\n    }\n    wg_barrier();", ": -INFINITY;\n          }\n        }\n    }"),
    ("the key's page is not clamped", "race-only", r"Invalid read[^$]*Kernel: attention", "attention/matrix bfloat16 dim 8",
     "attention_matrix.cl", "k_words(pages, clamp(r * TILE + s * 16, first_group, last_group), words)", "k_words(pages, r * TILE + s * 16, words)"),
    ("the largest score has no first value", "emulation", r"[Uu]ninitialized", "attention/matrix bfloat16 dim 8",
     "attention_matrix.cl", "m[i] = -INFINITY, l[i] = 0.0f;", "l[i] = 0.0f;"),
    ("limits of queries are ignored", "parity", r"WRONG attention/matrix", "attention/matrix bfloat16 image short",
     "attention.clh", "KEYS_END(limits, u.token + query, position));", "position + 1);"),
    ("keys before the limits are not multiplied", "parity", r"WRONG attention/vector", "attention/vector float32 image short",
     "attention.clh", "u->end = max(u->end, limits[u->token + i]);", ";"),
    ("limits of queries are ignored by warps", "parity", r"WRONG attention/mma", "attention/mma bfloat16 image short",
     "attention_mma.cl", "mine + j < END(i) && mine", "mine + j <= position[i] && mine"),
    ("listed chunks are read while others list", "race-only", r"data race[^$]*Kernel: sample_cut", "sample/chunks 5 variant 0",
     "sample_cut.cl", "= c;\n  ITEM_BARRIER;\n  return", "= c;\n  return"),
    ("chunks whose best is the last token that stays are not listed", "parity", r"WRONG sample/chunks", "sample/chunks long row, spread 0.000000 filter 1",
     "sample_cut.cl", "(uint)(chunk_best[c] >> 32) >= key", "(uint)(chunk_best[c] >> 32) > key"),
    ("the barrier before inputs are multiplied is gone", "race-only", r"data race[^$]*Kernel: fused_gemv", "fused_gemv/wide normed of 2 64x128 in 1",
     "fused_gemv.cl", "    wide_barrier();\n\n    uint2 by", "    uint2 by"),
    ("inputs beyond a part are multiplied twice", "parity", r"WRONG fused_gemv/wide", "fused_gemv/wide normed of 1 32x5376 in 2",
     "fused_gemv.cl", "bf_pair(at >= part_inputs ? 0.0f : v[e], 0.0f);", "bf_pair(v[e], 0.0f);"),
    ("heads are multiplied before all are normed", "race-only", r"data race[^$]*Kernel: attention_row", "fused_attention/row dim 64",
     "attention_row.cl", "query[at] = 0u;\n    wide_barrier();", "query[at] = 0u;"),
    ("the newest key is read while another work-group stores it", "race-only", r"data race[^$]*Kernel: attention_row", "fused_attention/row group of 16, dim 24",
     "attention_row.cl", "if (component < 0 || component > 3) return LD4(from);", "return LD4(from);"),
    ("V of the newest key's place in the cache is read", "parity", r"WRONG fused_attention/row", "fused_attention/row three rows",
     "attention_row.cl", "(key + 1 >= first && key + 1 < last ? 0xffff0000u : 0u)", "0xffff0000u"),
    ("a token past the last segment is packed", "race-only", r"Invalid read[^$]*Kernel: segment_pack", "segment_attention/matrix bf16-x nothing between",
     "segment_attention.cl", "k + (long)(first + min(at, last)) * ks.x", "k + (long)(first + at) * ks.x"),
    ("a segment's patches see only those before them", "parity", r"WRONG segment_attention/vector", "segment_attention/vector f32-x nothing between",
     "segment_attention.cl", "limits[first + token + lid] = length;", "limits[first + token + lid] = token + lid + 1;"),
    ("the barrier between slices of K and their sums is gone", "race-only", r"data race[^$]*Kernel: matmul_wide", "matmul/wide bfloat16 bf16-x 5x100x70",
     "matmul_wide.cl", "            to[ROW_SUMS / 2] = acc[h].yw;\n          }\n          wide_barrier();", "            to[ROW_SUMS / 2] = acc[h].yw;\n          }"),
    ("lines past the last of a matrix are read", "race-only", r"Invalid read[^$]*Kernel: matmul_wide", "matmul/wide bfloat16 bf16-x 5x100x70",
     "matmul_wide.cl", "min((s) * 512 + (j) * 256, room)", "((s) * 512 + (j) * 256)"),
    ("sums of the next pair overwrite those being read", "race-only", r"data race[^$]*Kernel: fused_gemv", "fused_gemv/wide normed of 2 320x130 in 1, gated",
     "fused_gemv.cl", "sums + unit % (2 * TURN) * (ROWS * 16)", "sums + unit % 2 * (ROWS * 16)"),
    ("up is multiplied by another panel's gate", "parity", r"WRONG gate_up/wide", "gate_up/wide act1 16x80x2048",
     "matmul_wide.cl", "(i) % 2 ? panel_bytes - half_bytes : half_bytes", "panel_bytes"),
    ("elements of a fragment change places", "parity", r"WRONG matmul/mad", "matmul/mad bfloat16 bf16-x 3x33x65",
     "shim.clh", "#define AF_IDX(row, col) ((col) * 8 + (row))", "#define AF_IDX(row, col) (((col) ^ 1) * 8 + (row))"),
    ("columns beyond the last are stored", "race-only", r"Invalid write[^$]*Kernel: matmul_mad|data race[^$]*Kernel: matmul_mad", "matmul/mad bfloat16 bf16-x 3x33x65",
     "matmul_mad.cl", "if (r < task.z && o < n) y[y_at[r] + o] = v;", "if (r < task.z) y[y_at[r] + o] = v;"),
    ("a barrier of the scan over experts is gone", "race-only", r"data race[^$]*Kernel: moe_sort", "moe_experts/grouped mxfp4 bf16-x 40 tokens, 4 experts",
     "moe.cl", "t = lid >= step ? sums[1][lid - step] : 0;\n    wg_barrier();", "t = lid >= step ? sums[1][lid - step] : 0;"),
    ("the weights read the choices too early", "race-only", r"data race[^$]*Kernel: router", "router/group 5x60 top 4",
     "router.cl", "if (rank < k) chosen[rank] = e;\n  }\n  wg_barrier();", "if (rank < k) chosen[rank] = e;\n  }"),
    ("a token beyond the last is looked up", "race-only", r"Invalid read[^$]*Kernel: latent_attend", "latent_attention/absorbed_matrix bfloat16 prefill short",
     "latent_attention_matrix.cl", "const int i = min(start + column, end - 1);", "const int i = start + column;"),
    ("numbers past the end of a row count", "parity", r"WRONG layer_norm/group", "layer_norm/group 3x63",
     "layer_norm.cl", "at + WG < n ? v.y - m : 0.0f", "v.y - m"),
    ("a barrier of a sum over a work-group is gone", "race-only", r"data race[^$]*Kernel: layer_norm", "layer_norm/group 3x63",
     "group_sum.clh", "part[lid] = x;\n  wg_barrier();", "part[lid] = x;"),
    ("a column beyond the last is blended", "race-only", r"Invalid read[^$]*Kernel: blend_rows", "blend_rows/pieces bfloat16 1x63 of 1",
     "blend_rows.cl", "min(PIECE_AT(at, a->pieces, u), n - 1)", "PIECE_AT(at, a->pieces, u)"),
    ("a row beyond the last is spliced in", "race-only", r"Invalid read[^$]*Kernel: splice_rows", "splice_rows/pieces 7x31",
     "splice_rows.cl", "known = taken >= 0 && taken < a->count;", "known = taken >= 0;"),
    ("lines of K are read before all tokens are there", "race-only", r"data race[^$]*Kernel: qkv_store_tiles", "qkv_store/tiles store dim 8 bfloat16 of 37",
     "qkv_store_tiles.cl", "  wg_barrier();\n  if (line_slot >= 0) {", "  if (line_slot >= 0) {"),
    ("sums of heads are read before all are there", "race-only", r"data race[^$]*Kernel: qkv_store_tiles", "qkv_store/tiles wide q alone bfloat16 of 37",
     "qkv_store_tiles.cl", "    wg_barrier();                                                                                       \\\n", ""),
    ("the second of two lone tokens is forgotten", "parity", r"WRONG qkv_store/tiles", "qkv_store/tiles store dim 8 bfloat16 of 45",
     "qkv_store_tiles.cl", "if (slot < 0 || !takes_own || !takes_other) other = -1;", "other = -1;"),
    ("low parts of the queries are left out", "parity", r"WRONG latent_attention/absorbed_matrix", "latent_attention/absorbed_matrix bfloat16 prefill short",
     "latent_attention_matrix.cl", "q_low[at] = f2bf(x - bf2f(high));", "q_low[at] = 0;"),
    ("the matrix instruction becomes shuffles", "intel", r"the matrix instructions are gone", ("matmul_mad.cl", "-DSGM=2", "bmg-g21"),
     "shim.clh", "#if X_HW == 1 && X_DPAS\n", "#if X_HW == 1 && X_DPAS && SG == 0\n"),
    ("registers are indexed by a number that only the launch knows", "intel", r"private memory|spills", ("matmul_mad.cl", "-DSGM=2", "bmg-g21"),
     "matmul_mad.cl", "acc[i][j] = mad8(a, b[u][j], acc[i][j]);", "acc[(i + task.z) % TM][j] = mad8(a, b[u][j], acc[(i + task.z) % TM][j]);"),
]


def source_path(name):
    return next((ROOT / "src").rglob(name))


class Checks:
    def __init__(self, build, scratch):
        self.scratch, self.reports = scratch, {}
        self.kernel_run = kernel_checks.program(build, "kernel_run")
        self.able, self.notices = set(), []
        if kernel_checks.run([self.kernel_run, "--device"], 60)[0] == 0:
            self.able.add("parity")
        else:
            self.notices.append("there is no OpenCL device (PoCL)")
        if shutil.which("oclgrind"):
            self.able |= {"emulation", "race-only"}
        else:
            self.notices.append("oclgrind is not installed")
        try:
            self.ocloc, _ = check_kernels_intel.compiler()
            self.programs = kernel_checks.kernel_programs(build, 16, scratch / "16")
            self.able.add("intel")
        except SystemExit:
            self.notices.append("Intel's offline compiler cannot be had")

    def run_case(self, check, case, mutant):
        more = ["--mutant", mutant] if mutant else []
        if check != "parity":
            clean, output = check_kernels_oclgrind.run_under(self.kernel_run, 3 if check == "race-only" else 0, 16, [case], 600, more)
        else:
            with tempfile.TemporaryDirectory() as cache, tempfile.NamedTemporaryFile("w") as f:
                f.write(case + "\n")
                f.flush()
                status, output = kernel_checks.run([self.kernel_run, "--cases", f.name, *more], 600, {"XDG_CACHE_HOME": cache})
                clean = status == 0
                output += "" if clean else f"\nended with status {status}"
        if clean and "RAN " not in output:
            return "no such case ran"
        return "" if clean else output

    def compile(self, place, text_from, text_to):
        file, options, device = place
        p = next((p for p in self.programs if p["file"] == file and options in p["options"]), None)
        if p is None:
            return f"no program of {file} with {options}"
        p = dict(p, text=p["text"].replace(text_from, text_to))
        return "\n".join(check_kernels_intel.problems(p, check_kernels_intel.compile_program(self.ocloc, p, device)))

    def report(self, m, mutant):
        """What the check says of the case with the bug (mutant: its file), or without; "" when all is well."""
        _, check, _, case, _, text_from, text_to = m
        return self.compile(case, text_from, text_to if mutant else text_from) if check == "intel" else self.run_case(check, case, mutant)

    def failure(self, m):
        """Why the bug counts as not seen; None when it is."""
        what, check, expected, case, file, text_from, text_to = m
        found = next((ROOT / "src").rglob(file)).read_text().count(text_from)
        if found != 1:
            return f"its text is in {file} {found} times, not once"
        if (check, case) not in self.reports:
            self.reports[check, case] = self.report(m, None)
        if self.reports[check, case]:
            return "not clean without the bug:\n" + self.reports[check, case]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump({"file": file, "from": text_from, "to": text_to}, f)
            f.flush()
            report = self.report(m, f.name)
        return None if re.search(expected, report) else f"expected /{expected}/, got: {report or 'nothing'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder")
    parser.add_argument("--only", default="", help="part of a bug's description")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checks = Checks(args.build, pathlib.Path(scratch))
        wanted = [m for m in MUTANTS if args.only in m[0]]
        mutants = [m for m in wanted if m[1] in checks.able]
        bad = 0
        for m, why in kernel_checks.in_parallel(lambda m: (m, checks.failure(m)), mutants):
            print(f"{'NOT SEEN' if why else 'seen':<9}{m[1]:<10} {m[4]}: {m[0]}", flush=True)
            if why:
                bad += 1
                print("  " + "\n  ".join(why.strip().splitlines()[:40]))
    for notice in checks.notices:
        print(f"NOTICE: {notice}; its bugs are left out")
    print(f"{len(mutants)} planted bugs: {bad} not seen, {len(wanted) - len(mutants)} left out")
    sys.exit(1 if bad else kernel_checks.SKIPPED if not mutants else 0)


if __name__ == "__main__":
    main()
