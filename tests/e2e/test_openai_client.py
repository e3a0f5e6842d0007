"""The official OpenAI Python client, unmodified, against the server."""
import threading
import unittest

from harness import ServerTest

try:
    import openai
except ImportError:
    openai = None

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
COUNT = [{"role": "user", "content": "Count from 20 to 30."}]


@unittest.skipIf(openai is None, "the openai package is not installed and PyPI was not reachable")
class OpenAiClient(ServerTest):
    options = ("--served-model-name", "demo-model", "--dtype", "float32")

    def setUp(self):
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key="any", max_retries=0)

    def chat(self, messages=QUESTION, **kw):
        return self.client.chat.completions.create(model="demo-model", messages=messages, **{"temperature": 0, **kw})

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["demo-model"])
        self.assertEqual(self.client.models.retrieve("demo-model").id, "demo-model")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("another")

    def test_chat(self):
        r = self.chat()
        self.assertEqual(r.choices[0].message.content, "Paris")
        self.assertEqual(r.choices[0].message.role, "assistant")
        self.assertEqual(r.choices[0].finish_reason, "stop")
        self.assertEqual(r.object, "chat.completion")
        self.assertEqual(r.usage.prompt_tokens, 19)
        self.assertEqual(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens)

    def test_chat_stream(self):
        whole = self.chat(COUNT).choices[0].message.content
        chunks = list(self.chat(COUNT, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason], ["stop"])
        self.assertEqual(chunks[-1].choices, [])
        self.assertGreater(chunks[-1].usage.completion_tokens, 5)
        self.assertEqual(len({c.id for c in chunks}), 1)

    def test_without_usage_option_no_chunk_has_usage(self):
        self.assertTrue(all(c.usage is None and c.choices for c in self.chat(stream=True)))

    def test_length(self):
        r = self.chat(COUNT, max_tokens=3)
        self.assertEqual((r.choices[0].finish_reason, r.usage.completion_tokens), ("length", 3))
        self.assertEqual(self.chat(COUNT, max_completion_tokens=4).usage.completion_tokens, 4)

    def test_stop_strings(self):
        whole = self.chat(COUNT).choices[0].message.content
        stop = whole[5:8]
        r = self.chat(COUNT, stop=stop)
        self.assertEqual(r.choices[0].message.content, whole[:whole.index(stop)])
        self.assertEqual(r.choices[0].finish_reason, "stop")
        streamed = "".join(c.choices[0].delta.content or "" for c in self.chat(COUNT, stop=["never said", stop], stream=True))
        self.assertEqual(streamed, whole[:whole.index(stop)])

    def test_logprobs(self):
        r = self.chat(logprobs=True, top_logprobs=3)
        tokens = r.choices[0].logprobs.content
        self.assertEqual(len(tokens), r.usage.completion_tokens)
        for t in tokens:
            self.assertEqual(len(t.top_logprobs), 3)
            self.assertEqual(t.top_logprobs[0].logprob, max(x.logprob for x in t.top_logprobs))
            self.assertAlmostEqual(t.logprob, t.top_logprobs[0].logprob, places=4)
            self.assertLessEqual(t.logprob, 0)
        streamed = [t for c in self.chat(logprobs=True, top_logprobs=3, stream=True) if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
        self.assertEqual([t.token for t in streamed], [t.token for t in tokens])

    def test_n_and_seeds(self):
        def texts(seed, n=4):
            return [c.message.content for c in self.chat(COUNT, temperature=1.5, seed=seed, n=n, max_tokens=20).choices]

        first = texts(7)
        self.assertEqual(first, texts(7))
        self.assertGreater(len(set(first)), 1, "choices of one request have seeds of their own")
        self.assertNotEqual(first, texts(8))
        self.assertEqual(texts(7, n=1), first[:1])
        indices = {c.choices[0].index for c in self.chat(COUNT, n=3, stream=True, temperature=1, max_tokens=5)}
        self.assertEqual(indices, {0, 1, 2})

    def test_completions(self):
        r = self.client.completions.create(model="demo-model", prompt="The capital of France is", max_tokens=5, temperature=0, echo=True, logprobs=2)
        self.assertTrue(r.choices[0].text.startswith("The capital of France is"))
        self.assertIsNone(r.choices[0].logprobs.token_logprobs[0])
        self.assertEqual(len(r.choices[0].logprobs.tokens), r.usage.total_tokens)
        many = self.client.completions.create(model="demo-model", prompt=["one", "two", "three"], max_tokens=2, temperature=0)
        self.assertEqual([c.index for c in many.choices], [0, 1, 2])
        ids = self.client.completions.create(model="demo-model", prompt=[2, 4, 460], max_tokens=2, temperature=0)
        self.assertEqual(ids.usage.prompt_tokens, 3)
        chunks = list(self.client.completions.create(model="demo-model", prompt="one", max_tokens=4, temperature=0, stream=True,
                                                         extra_body={"ignore_eos": True}))
        self.assertEqual(chunks[-1].choices[0].finish_reason, "length")

    def test_errors(self):
        for wrong in ({"messages": []}, {"temperature": -1}, {"top_p": 0}, {"top_p": 2}, {"presence_penalty": 3}, {"n": 0}, {"max_tokens": -1},
                      {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": "x " * 20000}]},
                      {"extra_body": {"stop_token_ids": [10**6]}}, {"logit_bias": {"99999": 1}}):
            with self.subTest(wrong=str(wrong)[:60]), self.assertRaises(openai.BadRequestError) as raised:
                self.chat(**wrong)
            self.assertTrue(raised.exception.body["message"] if raised.exception.body else str(raised.exception))
        self.assertEqual(self.chat().choices[0].message.content, "Paris")

    def test_cancelled_stream_frees_its_request(self):
        stream = self.chat(COUNT, stream=True, max_tokens=4000, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        state = self.server.wait_idle()
        self.assertEqual(state["num_used_tokens"], 0)

    def test_many_threads(self):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.chat().choices[0].message.content)) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(answers, ["Paris"] * 16)

    def test_logit_bias_and_penalties(self):
        r = self.chat(logit_bias={"856": -100})
        self.assertNotEqual(r.choices[0].message.content, "Paris")
        self.chat(COUNT, frequency_penalty=1.5, presence_penalty=1.5, max_tokens=8)


@unittest.skipIf(openai is None, "the openai package is not installed and PyPI was not reachable")
class ApiKey(ServerTest):
    options = ("--api-key", "secret")

    def test_key(self):
        good = openai.OpenAI(base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key="secret", max_retries=0)
        self.assertEqual(good.chat.completions.create(model="m", messages=QUESTION, temperature=0).choices[0].message.content, "Paris")
        with self.assertRaises(openai.AuthenticationError):
            good.with_options(api_key="wrong").chat.completions.create(model="m", messages=QUESTION)
        self.assertEqual(self.server.get("/health")[0], 200)
