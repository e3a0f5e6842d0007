"""What the end-to-end tests share: the real binary as a server, plain HTTP, the goldens."""
import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("XYLEM_BINARY", str(ROOT / "build/xylem"))
DEMO = ROOT / "models/demo"
GOLDEN = ROOT / "tests/golden"
START_SECONDS = 120  # a sanitizer build on a busy machine


def model_folder(name):
    return DEMO if name == "demo" else GOLDEN / name


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`xylem serve` on a free port. Use in a with statement: the end checks that it stops cleanly."""

    def __init__(self, *options, model="demo", env=None):
        self.port = free_port()
        self.log = tempfile.TemporaryFile()
        command = [BINARY, "serve", "--model", str(model_folder(model)), "--port", str(self.port), *map(str, options)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        env=dict(os.environ, **(env or {})))

    def __enter__(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.get("/health")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"the server did not become healthy:\n{self.output()}")

    def __exit__(self, kind, *_):
        status = self.stop()
        if kind is None and status != 0:
            raise AssertionError(f"the server ended with status {status}:\n{self.output()}")

    def stop(self, seconds=60):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed: it did not stop by itself"

    def output(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def connect(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=()):
        """(status, text)"""
        c = self.connect()
        try:
            data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            c.request(method, path, data, {"Content-Type": "application/json", **dict(headers)} if data is not None else dict(headers))
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body):
        """The parsed body of a 200."""
        status, text = self.request("POST", path, body)
        if status != 200:
            raise AssertionError(f"{path}: HTTP {status}: {text}")
        return json.loads(text)

    def generate(self, ids, max_new=64, **kw):
        body = {"input_ids": ids, "sampling_params": {"temperature": 0, "max_new_tokens": max_new, **kw.pop("sampling", {})}, **kw}
        return self.post("/generate", body)

    def chat(self, text, **kw):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", {"messages": messages, "temperature": 0, **kw})

    def events(self, path, body):
        """Yields the parsed data of a stream's events; the last is the string [DONE]."""
        c = self.connect()
        try:
            c.request("POST", path, json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
            r = c.getresponse()
            if r.status != 200:
                raise AssertionError(f"{path}: HTTP {r.status}: {r.read().decode()}")
            for line in r:
                line = line.strip()
                if line.startswith(b"data: "):
                    yield "[DONE]" if line == b"data: [DONE]" else json.loads(line[6:])
        finally:
            c.close()

    def state(self):
        return json.loads(self.get("/server_info")[1])["internal_states"][0]

    def wait_idle(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            s = self.state()
            if s["num_running_reqs"] == 0 and s["num_waiting_reqs"] == 0:
                return s
            time.sleep(0.02)
        raise AssertionError(f"the server did not become idle: {s}")

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])


class ServerTest(unittest.TestCase):
    """Tests that share one server, started with `options`."""
    options = ()
    model = "demo"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, model=cls.model).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None)


def in_parallel(n, f, items):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(f, items))


def text_cases(model):
    data = json.loads((GOLDEN / model / "golden.json").read_text())
    return [c for c in data["cases"] if not c.get("images")], data["eos_token_ids"]


def image_cases(model):
    data = json.loads((GOLDEN / model / "golden.json").read_text())
    return [c for c in data["cases"] if c.get("images")], data["eos_token_ids"]


def picture(model, name):
    return base64.b64encode((GOLDEN / model / name).read_bytes()).decode()


def image_part(model, name, **kw):
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + picture(model, name), **kw}}


def with_pictures(model, case):
    """The messages of a golden case, its pictures as data URLs."""
    names = iter(case["images"])
    return [{**m, "content": [image_part(model, next(names)) if p["type"] == "image" else p for p in m["content"]] if isinstance(m["content"], list) else m["content"]}
            for m in case["messages"]]
