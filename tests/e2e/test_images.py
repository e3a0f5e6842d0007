"""Images over HTTP and on the command line, against the reference's answers."""
import base64
import http.server
import json
import socket
import subprocess
import threading
import time
import unittest

from harness import BINARY, GOLDEN, ROOT, Server, ServerTest, image_cases, image_part, in_parallel, picture, text_cases, with_pictures

try:
    import openai
except ImportError:
    openai = None

MODELS = ("gemma4-e", "gemma4-moe", "qwen3.5", "qwen3.5-moe")
QUESTION = "What is in the picture?"
TOLERANCE = 0.01  # of log-probabilities


def ask(*parts, **kw):
    content = [p if isinstance(p, dict) else {"type": "text", "text": p} for p in parts]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, **kw}


def xylem(*arguments, stdin=""):
    return subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120)


class Golden(unittest.TestCase):
    def check_chat(self, server, model, case, eos, where):
        stops = case["output_ids"][-1] in eos
        reply = server.chat(with_pictures(model, case), max_tokens=len(case["output_ids"]) + (20 if stops else 0), logprobs=True)
        self.assertEqual(reply["usage"]["prompt_tokens"], len(case["prompt_ids"]), where)
        self.assertEqual(reply["choices"][0]["message"]["content"], case["output_text"], where)
        for want, have in zip(case["top5"], reply["choices"][0]["logprobs"]["content"], strict=True):
            self.assertLess(abs(want[0][1] - have["logprob"]), TOLERANCE, where)
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    def check_ids(self, server, model, case, eos, where):
        reply = server.generate(case["prompt_ids"], max_new=len(case["output_ids"]), image_data=[picture(model, n) for n in case["images"]])
        self.assertEqual(reply["output_ids"], case["output_ids"], where)
        self.assertEqual(reply["meta_info"]["prompt_tokens"], len(case["prompt_ids"]), where)

    def check_all(self, model, *options):
        cases, eos = image_cases(model)
        texts, _ = text_cases(model)
        self.assertGreater(len(cases), 4)
        with Server("--dtype", "float32", *options, model=model) as server:
            where = f"{model} {' '.join(map(str, options))}"
            for case in cases:
                self.check_chat(server, model, case, eos, f"{where}, {case['name']}, cold")
            warm = [self.check_chat(server, model, case, eos, f"{where}, {case['name']}, warm") for case in cases]
            self.assertGreater(sum(warm), 0, "the second round found nothing in the prefix cache")
            self.assertGreater(server.state()["images"]["encoded"], 0)
            server.wait_idle()
            self.assertEqual(server.request("POST", "/flush_cache")[0], 200)

            def mixed(item):
                if item.get("images"):
                    self.check_ids(server, model, item, eos, f"{where}, {item['name']}, one of 16")
                else:
                    got = server.generate(item["prompt_ids"], max_new=len(item["output_ids"]))
                    self.assertEqual(got["output_ids"], item["output_ids"], f"{where}, {item['name']}, beside images")

            in_parallel(16, mixed, [c for pair in zip(cases * 2, texts) for c in pair])


def add(name, model, *options):
    setattr(Golden, f"test_{model.replace('-', '_').replace('.', '_')}_{name}", lambda self: self.check_all(model, *options))


for m in MODELS:
    add("chunk_64_depth_2", m, "--chunked-prefill-size", 64, "--page-size", 16, "--pipeline-depth", 2)
for m in ("gemma4-e", "qwen3.5-moe"):
    add("no_cache_of_features", m, "--mm-cache-size", 0, "--page-size", 16)
for m in ("gemma4-moe", "qwen3.5"):
    add("chunk_16_page_16_depth_1", m, "--chunked-prefill-size", 16, "--page-size", 16, "--pipeline-depth", 1)
    add("chunk_2048", m, "--chunked-prefill-size", 2048, "--page-size", 16)


class Cache(ServerTest):
    model = "gemma4-moe"
    options = ("--dtype", "float32", "--page-size", 16)

    def cached(self, *parts):
        return self.server.post("/v1/chat/completions", ask(*parts, max_tokens=2))["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_equal_images_share_and_others_never(self):
        one, other = image_part(self.model, "image-0.png"), image_part(self.model, "image-2.png")
        self.server.wait_idle()
        self.assertEqual(self.server.request("POST", "/flush_cache")[0], 200)
        self.assertEqual(self.cached(one, QUESTION), 0)
        self.assertGreaterEqual(self.cached(one, QUESTION), 64, "an image sent again comes from the prefix cache")
        self.assertLess(self.cached(other, QUESTION), 16, "another image shares no more than what stands before it")
        self.assertGreaterEqual(self.cached(other, QUESTION), 64)
        answers = [self.server.post("/v1/chat/completions", ask(p, QUESTION))["choices"][0]["message"]["content"] for p in (one, other)]
        self.assertNotEqual(answers[0], answers[1])

    def test_features_outlive_the_prefix_cache(self):
        part = image_part(self.model, "image-1.png")
        self.cached(part, QUESTION)
        self.server.wait_idle()
        self.assertEqual(self.server.request("POST", "/flush_cache")[0], 200)
        before = self.server.state()["images"]
        self.assertEqual(self.cached(part, QUESTION), 0)
        after = self.server.state()["images"]
        self.assertEqual(after["encoded"], before["encoded"])
        self.assertGreater(after["cached"], before["cached"])


class Requests(ServerTest):
    model = "gemma4-e"
    options = ("--dtype", "float32", "--allowed-local-media-path", GOLDEN / "gemma4-e", "--allowed-media-domains", "localhost,127.0.0.1",
               "--limit-mm-data-per-request", 3)
    tags = ("threads",)

    def setUp(self):
        self.cases, self.eos = image_cases(self.model)

    def content(self, body):
        return self.server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def refused(self, body, *needles, path="/v1/chat/completions"):
        status, text = self.server.request("POST", path, body)
        self.assertEqual(status, 400, text)
        for needle in needles:
            self.assertIn(needle, json.loads(text)["message"])

    def test_info(self):
        self.assertTrue(json.loads(self.server.get("/model_info")[1])["has_image_understanding"])
        images = json.loads(self.server.get("/server_info")[1])["images"]
        self.assertEqual((images["limit_mm_data_per_request"], images["allowed_media_domains"]), (3, ["localhost", "127.0.0.1"]))
        self.content(ask(image_part(self.model, "image-0.png"), QUESTION))
        self.assertRegex(self.server.get("/metrics")[1], r"xylem:images_encoded_total{[^}]*} [1-9]")

    def test_files_and_fetches(self):
        case = self.cases[1]
        file = GOLDEN / self.model / case["images"][0]

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *a):
                super().__init__(*a, directory=str(file.parent))

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
            threading.Thread(target=host.serve_forever, daemon=True).start()
            fetched = f"http://localhost:{host.server_port}/{file.name}"
            for url in (f"file://{file}", fetched):
                self.assertEqual(self.content(ask({"type": "image_url", "image_url": {"url": url}}, QUESTION)), case["output_text"], url)
            self.refused(ask({"type": "image_url", "image_url": {"url": fetched + "x"}}), "404")
            host.shutdown()
        self.refused(ask({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), "--allowed-local-media-path")
        self.refused(ask({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}), "--allowed-media-domains")
        ids = text_cases(self.model)[0][0]["prompt_ids"]
        one = [7, *ids]
        replies = [self.server.generate(one, max_new=4, image_data=d)["output_ids"]
                   for d in (str(file), file.name, f"file://{file}", picture(self.model, file.name), [picture(self.model, file.name)])]
        self.assertTrue(all(r == replies[0] for r in replies))

    def test_bad_images(self):
        png = picture(self.model, "image-0.png")
        bomb = bytearray(base64.b64decode(png))
        bomb[16:24] = b"\x00\x00\xea\x60" * 2
        for url, needle in ((f"data:image/png;base64,{png[:200]}", ""), (f"data:image/jpeg;base64,{png}", "image/jpeg"), ("data:image/png;base64,%%%", "base64"),
                            ("data:image/png;base64," + base64.b64encode(bomb).decode(), "--mm-max-pixels"), ("gopher://a/b", "")):
            self.refused(ask({"type": "image_url", "image_url": {"url": url}}), "messages[0].content[0].image_url.url", needle)
        part = image_part(self.model, "image-0.png")
        self.refused(ask(part, "and <|image|>"), "2 placeholders", "1 images")
        self.refused(ask("just <|image|>"), "1 placeholders")
        self.refused(ask(part, part, part, part), "at most 3")
        self.refused(ask(image_part(self.model, "image-0.png", detail="huge")), "detail")
        self.refused({"text": "no place", "image_data": png}, "placeholders", path="/generate")
        self.refused({"text": "a", "video_data": "x"}, "video", path="/generate")
        self.assertEqual(self.content(ask(part, QUESTION)), self.cases[0]["output_text"])

    def test_more_images_than_fit(self):
        with Server("--context-length", 128, model=self.model) as server:
            part = image_part(self.model, "image-0.png")
            status, text = server.request("POST", "/v1/chat/completions", ask(part, part, QUESTION))
            self.assertEqual(status, 400)
            self.assertIn("128 tokens", text)
            self.assertIn("need 128 tokens", text)
            self.assertEqual(server.request("POST", "/v1/chat/completions", ask(part, QUESTION, max_tokens=2))[0], 200)

    def test_streams_of_others_go_on(self):
        text = {"messages": [{"role": "user", "content": "Count from 20 to 30."}], "temperature": 0, "max_tokens": 40}
        alone = self.server.post("/v1/chat/completions", text)["choices"][0]["message"]["content"]

        def one(i):
            if i % 3 == 0:
                events = [e for e in self.server.events("/v1/chat/completions", text) if e != "[DONE]"]
                return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"]), alone
            case = self.cases[i % len(self.cases)]
            body = {"messages": with_pictures(self.model, case), "temperature": 0}
            events = [e for e in self.server.events("/v1/chat/completions", body) if e != "[DONE]"]
            return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"]), case["output_text"]

        for got, want in in_parallel(12, one, range(36)):
            self.assertEqual(got, want)

    def test_clients_that_leave(self):
        for i in range(24):
            body = json.dumps({"messages": with_pictures(self.model, self.cases[i % len(self.cases)]), "stream": True}).encode()
            with socket.create_connection(("127.0.0.1", self.server.port)) as s:
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                time.sleep(0.004 * (i % 8))
        self.assertEqual(self.server.wait_idle()["num_used_tokens"], 0)
        self.assertEqual(self.content(ask(image_part(self.model, "image-0.png"), QUESTION)), self.cases[0]["output_text"])

    @unittest.skipIf(openai is None, "the openai package is not installed and PyPI was not reachable")
    def test_openai_client(self):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key="any", max_retries=0)
        for case in self.cases:
            r = client.chat.completions.create(model="m", messages=with_pictures(self.model, case), temperature=0)
            self.assertEqual((r.choices[0].message.content, r.usage.prompt_tokens), (case["output_text"], len(case["prompt_ids"])))
        stream = client.chat.completions.create(model="m", messages=with_pictures(self.model, self.cases[0]), temperature=0, stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in stream), self.cases[0]["output_text"])
        with self.assertRaises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])


class TextOnly(unittest.TestCase):
    def check(self, model, *options):
        with Server(*options, model=model) as server:
            status, text = server.request("POST", "/v1/chat/completions", ask(image_part("gemma4-e", "image-0.png"), QUESTION))
            self.assertEqual(status, 400)
            self.assertIn("takes no images", text)
            self.assertFalse(json.loads(server.get("/model_info")[1])["has_image_understanding"])
            self.assertTrue(server.post("/v1/chat/completions", ask("hello", max_tokens=2))["choices"])

    def test_text_model(self):
        self.check("gpt-oss")

    def test_language_model_only(self):
        self.check("gemma4-e", "--language-model-only")


class CommandLine(unittest.TestCase):
    def test_run(self):
        for model in ("gemma4-e", "qwen3.5"):
            for case in image_cases(model)[0]:
                files = [a for n in case["images"] for a in ("--image", GOLDEN / model / n)]
                r = xylem("run", "--model", GOLDEN / model, "--dtype", "float32", "--temperature", 0, "--stats", *files, QUESTION)
                self.assertEqual((r.returncode, r.stdout), (0, case["output_text"] + "\n"), r.stderr)
                self.assertIn(f"{len(case['prompt_ids'])} prompt tokens", r.stderr)

    def test_run_refuses(self):
        model = ("--model", GOLDEN / "gemma4-e")
        for files, needle in (((GOLDEN / "gemma4-e/config.json",), "config.json"), (("/no/such.png",), "/no/such.png"), ((GOLDEN,), str(GOLDEN))):
            r = xylem("run", *model, "--image", *files, QUESTION)
            self.assertEqual(r.returncode, 1)
            self.assertIn(needle, r.stderr)
            self.assertEqual(len(r.stderr.strip().splitlines()), 1, r.stderr)
        r = xylem("run", "--model", GOLDEN / "gpt-oss", "--image", GOLDEN / "gemma4-e/image-0.png", QUESTION)
        self.assertEqual(r.returncode, 1)
        self.assertIn("takes no images", r.stderr)

    def test_chat(self):
        case = image_cases("gemma4-e")[0][0]
        picture_file = GOLDEN / "gemma4-e" / case["images"][0]
        r = xylem("chat", "--model", GOLDEN / "gemma4-e", "--dtype", "float32", "--temperature", 0,
                  stdin=f"/image {picture_file}\n{QUESTION}\n/clear\n/image {GOLDEN}/none.png\n/image {GOLDEN}/gemma4-e/config.json\n/help\n")
        self.assertTrue(r.stdout.startswith(case["output_text"] + "\n"), r.stdout + r.stderr)
        self.assertIn("/image FILE", r.stdout)
        self.assertIn("none.png", r.stderr)
        self.assertIn("config.json", r.stderr)
        r = xylem("chat", "--model", GOLDEN / "gpt-oss", stdin=f"/image {picture_file}\n")
        self.assertIn("takes no images", r.stderr)
