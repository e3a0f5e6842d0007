"""The reference's tokens and log-probabilities, over HTTP, in every way a request can be computed."""
import json
import unittest

from harness import Server, in_parallel, text_cases

MODELS = ("demo", "gemma4-e", "gemma4-moe")
FAMILIES = ("qwen3.5", "qwen3.5-moe", "gpt-oss", "gpt-oss-mxfp4", "deepseek-v3", "deepseek-v2-lite", "kimi-linear")  # one way each
TOLERANCE = 0.01  # of log-probabilities


class Checks:
    def check_logprobs(self, case, got, where):
        for i, (want, have) in enumerate(zip(case["top5"], got, strict=True)):
            self.assertLess(abs(want[0][1] - have), TOLERANCE, f"{where}: log-probability of output token {i}")

    def check_ids(self, server, case, eos, where):
        stops = case["output_ids"][-1] in eos
        reply = server.generate(case["prompt_ids"], max_new=len(case["output_ids"]) + (20 if stops else 0), return_logprob=True)
        self.assertEqual(reply["output_ids"], case["output_ids"], where)
        self.assertEqual(reply["meta_info"]["prompt_tokens"], len(case["prompt_ids"]), where)
        self.check_logprobs(case, [t[0] for t in reply["meta_info"]["output_token_logprobs"]], where)
        return reply["meta_info"]["cached_tokens"]

    def check_chat(self, server, case, eos, where):
        stops = case["output_ids"][-1] in eos
        limit = len(case["output_ids"]) + (20 if stops else 0)
        reply = server.chat(case["messages"], max_tokens=limit, logprobs=True, separate_reasoning=False)
        choice = reply["choices"][0]
        self.assertEqual(reply["usage"]["prompt_tokens"], len(case["prompt_ids"]), where)
        self.assertEqual(choice["message"]["content"], case["output_text"], where)
        self.assertEqual(choice["finish_reason"], "stop" if stops else "length", where)
        logprobs = [t["logprob"] for t in choice["logprobs"]["content"]]
        self.check_logprobs(case, logprobs, where)


class Golden(Checks, unittest.TestCase):
    def check_all(self, model, *options):
        cases, eos = text_cases(model)
        with Server("--dtype", "float32", *options, model=model) as server:
            name = f"{model} {' '.join(map(str, options))}"
            for case in cases:
                self.check_ids(server, case, eos, f"{name}, {case['name']}, cold")
            warm = [self.check_ids(server, case, eos, f"{name}, {case['name']}, warm") for case in cases]
            self.assertGreater(sum(warm), 0, "the second round found nothing in the prefix cache")
            server.wait_idle()  # a step may still be in flight when the last answer has come
            self.assertEqual(server.request("POST", "/flush_cache")[0], 200)
            mixed = [c for c in cases for _ in range(2)]
            in_parallel(16, lambda c: self.check_ids(server, c, eos, f"{name}, {c['name']}, one of 16"), mixed)
            in_parallel(16, lambda c: self.check_chat(server, c, eos, f"{name}, {c['name']}, chat"), cases)


def add(name, model, *options):
    setattr(Golden, f"test_{model.replace('-', '_').replace('.', '_')}_{name}", lambda self: self.check_all(model, *options))


for m in MODELS:
    add("chunk_2048_page_16_depth_1", m, "--chunked-prefill-size", 2048, "--page-size", 16, "--pipeline-depth", 1)
    add("chunk_64_page_64_depth_2", m, "--chunked-prefill-size", 64, "--page-size", 64, "--pipeline-depth", 2)
for m in FAMILIES:
    add("chunk_64_page_32_depth_2", m, "--chunked-prefill-size", 64, "--page-size", 32, "--pipeline-depth", 2)
add("chunk_16_page_16_depth_2", "demo", "--chunked-prefill-size", 16, "--page-size", 16, "--pipeline-depth", 2)
add("chunk_16_page_64_depth_1", "gemma4-moe", "--chunked-prefill-size", 16, "--page-size", 64, "--pipeline-depth", 1)


class Preempted(Checks, unittest.TestCase):
    """A cache too small for the requests in flight: some are preempted and computed again, with the same tokens."""

    def check_preempted(self, model, depth):
        cases, eos = text_cases(model)
        short = [c for c in cases if len(c["prompt_ids"]) < 60]
        options = ["--dtype", "float32", "--page-size", 16, "--pipeline-depth", depth, "--max-running-requests", 32]
        with Server(*options, model=model) as server:
            state, info = server.state(), json.loads(server.get("/server_info")[1])
        tiny = int(info["kv_bytes"] / state["max_total_num_tokens"] * 320)
        with Server(*options, "--kv-memory", tiny, "--context-length", 160, model=model) as server:
            longest = sorted(short, key=lambda c: -len(c["output_ids"]))[:4] * 12
            in_parallel(24, lambda c: self.check_ids(server, c, eos, f"{model}, depth {depth}, {c['name']}, tiny cache"), longest)
            self.assertGreater(server.wait_idle()["preemptions"], 0, "the cache was not small enough to preempt")


for m, d in (("demo", 1), ("demo", 2), ("gemma4-e", 2), ("gemma4-moe", 1)):
    setattr(Preempted, f"test_{m.replace('-', '_')}_depth_{d}", lambda self, m=m, d=d: self.check_preempted(m, d))
