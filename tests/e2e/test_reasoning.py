"""Reasoning apart from the answer, with the models that write it."""
import re
import unittest

from harness import GOLDEN, ServerTest, text_cases

FINAL = "<|channel|>final<|message|>"
ANALYSIS = re.compile(r"<\|channel\|>analysis<\|message\|>(.*?)<\|end\|>", re.S)


@unittest.skipUnless((GOLDEN / "gpt-oss").is_dir(), "no golden model writes harmony")
class Harmony(ServerTest):
    model = "gpt-oss"
    options = ("--dtype", "float32")

    def cases(self):
        """(messages, raw answer, reasoning, content)"""
        for case in text_cases("gpt-oss")[0]:
            raw = case["output_text"]
            if FINAL in raw:
                yield case["messages"], raw, "".join(ANALYSIS.findall(raw)), raw[raw.index(FINAL) + len(FINAL):]

    def test_channels(self):
        self.assertTrue(any(reasoning for _, _, reasoning, _ in self.cases()), "no golden case reasons")
        for messages, raw, reasoning, content in self.cases():
            reply = self.server.chat(messages)
            message = reply["choices"][0]["message"]
            self.assertEqual((message["reasoning_content"] or "", message["content"]), (reasoning, content))
            self.assertEqual(reply["usage"]["reasoning_tokens"] > 0, reasoning != "")
            raw_message = self.server.chat(messages, separate_reasoning=False)["choices"][0]["message"]
            self.assertEqual((raw_message["reasoning_content"], raw_message["content"]), (None, raw))

    def streamed(self, messages, stream_reasoning):
        """(pieces of the thought, of the answer)"""
        deltas = []
        for event in self.server.events("/v1/chat/completions", {"messages": messages, "temperature": 0, "stream_reasoning": stream_reasoning}):
            if event != "[DONE]":
                deltas += [c["delta"] for c in event["choices"]]
        return [d["reasoning_content"] for d in deltas if d.get("reasoning_content")], [d["content"] for d in deltas if d.get("content")]

    def test_streams(self):
        for messages, _, reasoning, content in self.cases():
            for stream_reasoning in (True, False):
                for _ in range(5):  # a busy machine may put pieces together
                    thoughts, answer = self.streamed(messages, stream_reasoning)
                    self.assertEqual("".join(thoughts), reasoning)
                    self.assertEqual("".join(answer), content)
                    if len(thoughts) > 1 or not stream_reasoning:
                        break
                if reasoning:
                    self.assertEqual(len(thoughts) > 1, stream_reasoning)

    def test_cut_while_it_reasons(self):
        messages = next(messages for messages, _, reasoning, _ in self.cases() if reasoning)
        choice = self.server.chat(messages, max_tokens=8)["choices"][0]
        self.assertTrue(choice["message"]["reasoning_content"])
        self.assertIsNone(choice["message"]["content"])
        self.assertEqual(choice["finish_reason"], "length")

    def test_effort(self):
        status, text = self.server.request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "none"})
        self.assertEqual(status, 400)
        self.assertIn("reasoning_effort", text)


class ParserOption(ServerTest):
    options = ("--reasoning-parser", "none")

    def test_named_in_server_info(self):
        self.assertIn('"reasoning_parser":null', self.server.get("/server_info")[1])
        self.assertEqual(self.server.chat("What is the capital of France?")["choices"][0]["message"]["content"], "Paris")
