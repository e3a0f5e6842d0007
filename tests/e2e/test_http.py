"""The native routes, hostile input, disconnects."""
import json
import socket
import time

from harness import ServerTest, in_parallel, text_cases


class Native(ServerTest):
    options = ("--dtype", "float32")
    tags = ("threads",)

    def test_health_and_info(self):
        for path in ("/health", "/health_generate", "/metrics", "/server_info", "/get_server_info", "/model_info", "/get_model_info", "/v1/models"):
            self.assertEqual(self.server.get(path)[0], 200, path)
        self.assertIn("xylem:", self.server.get("/metrics")[1])
        self.assertEqual(self.server.get("/nothing")[0], 404)
        self.assertEqual(self.server.get("/generate")[0], 405)

    def test_generate_single_list_and_stream(self):
        one = self.server.post("/generate", {"text": "What is", "sampling_params": {"temperature": 0, "max_new_tokens": 8}})
        self.assertEqual(one["meta_info"]["completion_tokens"], len(one["output_ids"]))
        two = self.server.post("/generate", {"text": ["What is", "Count"], "sampling_params": {"temperature": 0, "max_new_tokens": 8}})
        self.assertEqual(two[0]["output_ids"], one["output_ids"])
        events = list(self.server.events("/generate", {"text": "What is", "sampling_params": {"temperature": 0, "max_new_tokens": 8}}))
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(events[-2]["text"], one["text"])
        self.assertTrue(all(a["text"].startswith(b["text"]) for a, b in zip(events[1:-1], events[:-2])), "native streams are cumulative")

    def test_prompt_logprobs(self):
        case = text_cases("demo")[0][0]
        r = self.server.generate(case["prompt_ids"], return_logprob=True, logprob_start_len=0, top_logprobs_num=2)
        self.assertEqual([t[1] for t in r["meta_info"]["input_token_logprobs"]], case["prompt_ids"])
        self.assertEqual(len(r["meta_info"]["output_top_logprobs"][0]), 2)

    def test_tokenize_round_trip(self):
        text = "Naïve café 日本 🙂 12 + 30"
        t = self.server.post("/tokenize", {"prompt": text, "add_special_tokens": False})
        self.assertEqual(t["count"], len(t["tokens"]))
        self.assertEqual(self.server.post("/detokenize", {"tokens": t["tokens"]})["text"], text)

    def test_stop_token_ids_min_tokens_ignore_eos(self):
        case = text_cases("demo")[0][0]
        stop = case["output_ids"][0]
        r = self.server.generate(case["prompt_ids"], sampling={"stop_token_ids": [stop]})
        self.assertEqual((r["output_ids"], r["meta_info"]["finish_reason"]), ([stop], {"type": "stop", "matched": stop}))
        r = self.server.generate(case["prompt_ids"], max_new=12, sampling={"min_new_tokens": 6})
        self.assertGreaterEqual(len(r["output_ids"]), 6)
        r = self.server.generate(case["prompt_ids"], max_new=12, sampling={"ignore_eos": True})
        self.assertEqual(len(r["output_ids"]), 12)

    def test_same_seed_same_output_whatever_else_runs(self):
        def sample(_=None):
            return self.server.generate([2, 4, 460, 353], max_new=24, sampling={"temperature": 1.2, "sampling_seed": 5, "ignore_eos": True})["output_ids"]

        alone = sample()
        self.assertTrue(all(ids == alone for ids in in_parallel(12, sample, range(24))))

    def test_prefix_cache_and_flush(self):
        ids = [2] + list(range(100, 300))
        self.server.wait_idle()
        self.assertEqual(self.server.request("POST", "/flush_cache")[0], 200)
        self.assertEqual(self.server.generate(ids, max_new=1)["meta_info"]["cached_tokens"], 0)
        self.assertGreater(self.server.generate(ids, max_new=1)["meta_info"]["cached_tokens"], 100)

    def test_abort_request(self):
        stream = self.server.events("/generate", {"input_ids": [2, 4], "rid": "mine", "sampling_params": {"max_new_tokens": 6000, "ignore_eos": True}})
        next(stream)
        self.assertEqual(self.server.request("POST", "/abort_request", {"rid": "mine"})[0], 200)
        rest = list(stream)
        self.assertEqual(rest[-2]["meta_info"]["finish_reason"]["type"], "abort")

    def test_bad_requests(self):
        bad = [b"{", b"[]", b"null", b"", b"\xff\xfe", b'{"text": 1}', b'{"text": "a", "input_ids": [1]}', b"{}", b'{"input_ids": []}',
               b'{"input_ids": [1024]}', b'{"input_ids": [-1]}', b'{"input_ids": [1e99]}', b'{"input_ids": ["a"]}', b'{"text": "a", "sampling_params": 3}',
               b'{"text": "a", "sampling_params": {"temperature": "hot"}}', b'{"text": "a", "sampling_params": {"temperature": -1}}',
               b'{"text": "a", "sampling_params": {"top_k": -5}}', b'{"text": "a", "sampling_params": {"max_new_tokens": -1}}',
               b"[" * 100000, b'{"a":' * 100000, json.dumps({"input_ids": [5] * 9000}).encode(), b'{"text": "\\ud800"}']
        for body in bad:
            status, text = self.server.request("POST", "/generate", body)
            self.assertEqual(status, 400, (body[:60], text[:200]))
            self.assertTrue(json.loads(text)["message"], body[:60])
        long = self.server.request("POST", "/generate", {"input_ids": [5] * 9000})[1]
        self.assertIn("9000", long)
        self.assertIn("8192", long)
        self.assertEqual(self.server.chat("What is the capital of France?")["choices"][0]["message"]["content"], "Paris")

    def test_oversized_body(self):
        with socket.create_connection(("127.0.0.1", self.server.port)) as s:
            s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
            s.settimeout(30)
            self.assertIn(b" 413 ", s.recv(4096).split(b"\r\n")[0] + b" ")

    def test_disconnect_cancels(self):
        body = json.dumps({"input_ids": [2, 4], "stream": True, "sampling_params": {"max_new_tokens": 8000, "ignore_eos": True}}).encode()
        for wait in (0, 0.02, 0.2):
            s = socket.create_connection(("127.0.0.1", self.server.port))
            s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(wait)
            s.close()
        self.assertEqual(self.server.wait_idle()["num_used_tokens"], 0)

    def test_keep_alive_serves_many_requests(self):
        c = self.server.connect()
        for _ in range(5):
            c.request("GET", "/health")
            r = c.getresponse()
            r.read()
            self.assertEqual(r.status, 200)
        c.close()
