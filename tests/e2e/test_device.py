"""Servers on an OpenCL device (PoCL) that fails, lacks memory or is not there."""
import json
import os
import pathlib
import subprocess
import time
import unittest

from harness import BINARY, ROOT, Server

FAULTS = pathlib.Path(BINARY).parent / "libopencl_faults.so"
SIZES = ("--dtype", "float32", "--page-size", 16, "--chunked-prefill-size", 64, "--max-running-requests", 16, "--kv-memory", "64M")
OPTIONS = ("--device", "opencl:0", *SIZES)


def with_faults(faults):
    return {"LD_PRELOAD": str(FAULTS), "XYLEM_OPENCL_FAULTS": faults}


def xylem(*arguments, faults="", seconds=120):
    env = dict(os.environ, **(with_faults(faults) if faults else {}))
    return subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, env=env)


class Device(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if "opencl:0" not in xylem("devices").stdout:
            raise unittest.SkipTest("there is no OpenCL device")
        if not FAULTS.exists():
            raise unittest.SkipTest("this build folder has no libopencl_faults.so")

    def long_stream(self, server):
        return list(server.events("/generate", {"input_ids": [2, 4], "sampling_params": {"max_new_tokens": 4000, "ignore_eos": True}}))

    def goes_on_after_a_failed_allocation(self, depth):
        with Server(*OPTIONS, "--pipeline-depth", depth, env=with_faults("fail_after=3000,code=-4")) as server:
            events = self.long_stream(server)
            self.assertGreater(len(events), 3)
            self.assertIn("OpenCL error -4", json.dumps(events[-2:]))
            status, text = server.get("/health")
            self.assertEqual(status, 503)
            self.assertIn("OpenCL error -4", text)
            deadline = time.monotonic() + 30
            while server.get("/health")[0] != 200:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)
            self.assertEqual(len(server.generate([2, 4], 8, sampling={"ignore_eos": True})["output_ids"]), 8)
            return server.state()["failed_steps"]

    def test_goes_on_after_a_failed_allocation(self):
        self.assertEqual(self.goes_on_after_a_failed_allocation(depth=1), 1)

    def test_goes_on_with_a_step_beside_the_failed_one(self):
        self.assertIn(self.goes_on_after_a_failed_allocation(depth=2), (1, 2))  # one that was planned upon it counts too

    def test_ends_when_the_device_is_lost(self):
        server = Server(*OPTIONS, env=with_faults("fail_after=3000,code=-9999,lose=1")).__enter__()
        events = self.long_stream(server)
        self.assertIn("OpenCL error -9999", json.dumps(events[-2:]))
        deadline = time.monotonic() + 30  # it is examined after its requests have their answer
        status, text = server.get("/health")
        while "lost" not in text and time.monotonic() < deadline:
            status, text = server.get("/health")
        self.assertEqual(status, 503)
        self.assertIn("lost", text)
        self.assertEqual(server.process.wait(60), 1, server.output())
        self.assertIn("The device is lost", server.output())

    def test_devices_and_why_one_is_taken(self):
        text = xylem("devices").stdout
        for part in ("driver", "memory", "extensions", "kernels use", "steps replay"):
            self.assertIn(part, text)
        self.assertIn("not usable", xylem("devices", faults="no_svm=1").stdout)
        self.assertIn("intel-opencl-icd", xylem("devices", faults="no_driver=1").stdout)
        self.assertIn("takes the CPU: no Intel GPU", xylem("run", "--device", "auto", "--log-level", "info", "--max-tokens", 1, "hello").stderr)

    def test_refused_at_start(self):
        for device, faults, needles in (
                ("xpu", "no_driver=1", ["intel-opencl-icd"]), ("opencl:0", "no_driver=1", ["intel-opencl-icd"]), ("opencl:0", "no_svm=1", ["shared virtual memory"]),
                ("opencl:7", "no_svm=1", ["opencl:0", "not usable"]), ("opencl:0", "memory=80000000", ["weights: matrices", "KV cache of", "76.3 MiB", "--kv-memory"])):
            r = xylem("run", *SIZES, "--device", device, "hello", faults=faults)
            self.assertEqual(r.returncode, 1, r.stderr)
            for needle in needles:
                self.assertIn(needle, r.stderr)
