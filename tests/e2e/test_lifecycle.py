"""Start and stop: signals, ports, flags, bad checkpoints; the commands besides serve."""
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from harness import BINARY, DEMO, GOLDEN, ROOT, Server, free_port


def xylem(*arguments, stdin="", seconds=120):
    return subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=seconds)


class Lifecycle(unittest.TestCase):
    def test_sigterm_drains(self):
        server = Server("--max-running-requests", 4).__enter__()
        got = []
        body = {"input_ids": [2, 4], "sampling_params": {"max_new_tokens": 400, "ignore_eos": True}}
        started = threading.Event()

        def read():
            for event in server.events("/generate", body):
                got.append(event)
                started.set()

        reader = threading.Thread(target=read)
        reader.start()
        started.wait(30)
        server.process.send_signal(signal.SIGTERM)
        reader.join(60)
        self.assertEqual(server.process.wait(60), 0, server.output())
        self.assertEqual(got[-1], "[DONE]")
        self.assertEqual(got[-2]["meta_info"]["completion_tokens"], 400)

    def test_second_signal_ends_at_once(self):
        server = Server().__enter__()
        stream = server.events("/generate", {"input_ids": [2, 4], "sampling_params": {"max_new_tokens": 8000, "ignore_eos": True}})
        next(stream)
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        begin = time.monotonic()
        server.process.wait(20)
        self.assertLess(time.monotonic() - begin, 10)

    def test_port_in_use(self):
        with Server() as server:
            r = xylem("serve", "--port", server.port)
            self.assertEqual(r.returncode, 1)
            self.assertIn("in use", r.stderr)
            self.assertIn(str(server.port), r.stderr)
            self.assertEqual(len(r.stderr.strip().splitlines()), 1, r.stderr)


class CommandLine(unittest.TestCase):
    def test_help_of_every_command(self):
        for command in ([], ["serve"], ["run"], ["chat"], ["inspect"], ["devices"], ["bench"], ["bench", "one-batch"], ["bench", "serving"], ["bench", "ops"], ["eval"]):
            r = xylem(*command, "--help")
            self.assertEqual((r.returncode, r.stderr), (0, ""), command)
            self.assertIn("Usage: xylem " + " ".join(command), r.stdout)
            self.assertLessEqual(max(map(len, r.stdout.splitlines())), 110, command)
        self.assertRegex(xylem("--version").stdout, r"^xylem \d+\.\d+")

    def test_usage_errors(self):
        for wrong in ([], ["fly"], ["serve", "--port", "99999"], ["serve", "--page-size", "17"], ["serve", "--kv-memory", "lots"], ["serve", "--nope"],
                      ["run", "--dtype", "int3", "hi"], ["eval"], ["bench", "one-batch", "--batch-size", "0"]):
            r = xylem(*wrong)
            self.assertEqual(r.returncode, 2, (wrong, r.stderr))
            self.assertEqual(len(r.stderr.strip().splitlines()), 1, r.stderr)

    def test_run(self):
        r = xylem("run", "--temperature", 0, "--stats", "What is the capital of France?")
        self.assertEqual((r.returncode, r.stdout), (0, "Paris\n"), r.stderr)
        self.assertIn("tokens/s", r.stderr)
        self.assertEqual(xylem("run", "--temperature", 0, stdin="What is the capital of France?\n").stdout, "Paris\n")
        self.assertEqual(xylem("run", "--raw", "--temperature", 0, "--max-tokens", 4, "--stats", "What is").returncode, 0)
        r = xylem("run", "--temperature", -3, "hello")
        self.assertEqual(r.returncode, 1)
        self.assertIn("temperature", r.stderr)

    def test_chat_from_a_pipe(self):
        r = xylem("chat", "--temperature", 0, stdin="What is the capital of France?\n/clear\n/nonsense\n\nWhat is the capital of Italy?\n/exit\nnever asked\n")
        self.assertEqual(r.stdout, "Paris\nRome\n", r.stderr)
        self.assertIn("/nonsense", r.stderr)

    def test_inspect_and_devices(self):
        r = xylem("inspect", "--tensors")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("Gemma4ForConditionalGeneration", r.stdout)
        self.assertIn("the last 64 tokens", r.stdout)
        self.assertEqual(xylem("inspect", "bench/configs/qwen3-0.6b").returncode, 0)
        self.assertIn("memory", xylem("devices").stdout)

    def test_eval_scores_as_the_reference(self):
        reference = json.loads((GOLDEN / "demo/eval.json").read_text())
        items = reference["items"]
        with_images = sum(bool(i["images"]) for i in items)
        with Server() as server:
            for where in ([], ["--url", f"http://127.0.0.1:{server.port}"]):
                r = xylem("eval", *where, GOLDEN / "demo/eval.json")
                self.assertEqual(r.returncode, 0, r.stderr)
                total = [line.split() for line in r.stdout.splitlines() if line.startswith("total")][0]
                self.assertEqual(int(total[1]), len(items))
                correct, expected = int(total[2]), sum(i["reference_correct"] for i in items)
                self.assertEqual(int(total[3]), expected)
                self.assertLessEqual(abs(correct - expected), 2, r.stdout)
        r = xylem("eval", "--language-model-only", GOLDEN / "demo/eval.json")
        self.assertIn(f"left out: {with_images} items with images", r.stdout, r.stderr)

    def test_bench_serving(self):
        with Server() as server:
            r = xylem("bench", "serving", "--url", f"http://127.0.0.1:{server.port}", "--num-prompts", 20, "--input-len", 30, "--output-len", 8, "--max-concurrency", 4)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn("20 completed, 0 failed", r.stdout)
            self.assertIn("160 out", r.stdout)
        r = xylem("bench", "serving", "--url", f"http://127.0.0.1:{free_port()}")
        self.assertEqual(r.returncode, 1)
        self.assertIn("xylem serve", r.stderr)


class BadCheckpoints(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "model.safetensors"):
            shutil.copy(DEMO / name, self.folder / name)

    def refused(self, *needles):
        r = xylem("run", "--model", self.folder, "hello")
        self.assertEqual(r.returncode, 1, r.stderr)
        for needle in needles:
            self.assertIn(needle, r.stderr)

    def test_no_such_folder(self):
        r = xylem("run", "--model", "/nowhere", "hello")
        self.assertEqual(r.returncode, 1)
        self.assertIn("/nowhere", r.stderr)

    def test_unknown_architecture_lists_the_known(self):
        config = json.loads((self.folder / "config.json").read_text())
        config["architectures"] = ["Gemma9ForCausalLM"]
        (self.folder / "config.json").write_text(json.dumps(config))
        self.refused("Gemma9ForCausalLM", "Gemma4ForConditionalGeneration", "Qwen3ForCausalLM")

    def test_truncated_weights(self):
        path = self.folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1_000_000])
        self.refused("model.safetensors")

    def test_missing_tensor_is_named(self):
        path = self.folder / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data.replace(b"layers.3.self_attn.q_proj.weight", b"layers.3.self_attn.q_prox.weight", 1))
        self.refused("layers.3.self_attn.q_proj.weight")

    def test_broken_config(self):
        (self.folder / "config.json").write_text("{")
        self.refused("config.json")

    def test_too_little_memory_says_how_much(self):
        config = json.loads((ROOT / "bench/configs/qwen3-0.6b/config.json").read_text())
        config.update(hidden_size=65536, intermediate_size=262144, num_hidden_layers=400)
        (self.folder / "config.json").write_text(json.dumps(config))
        r = xylem("run", "--model", self.folder, "--load-format", "dummy", "hello")
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, r"\d+(\.\d+)? ?(GiB|TiB|GB|TB)")
