"""Many clients at once, a full queue, silent connections, and a soak with a tiny cache."""
import asyncio
import json
import random
import resource
import socket
import unittest

from harness import Server, ServerTest


async def stream(port, body, stop_after=None):
    """(status, events, done) of one streaming /generate; hangs up after stop_after events if that is given."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = json.dumps({**body, "stream": True}).encode()
        writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        events, done = 0, False
        async for line in reader:
            events += line.startswith(b"data: {")
            done |= line.startswith(b"data: [DONE]")
            if stop_after is not None and events >= stop_after:
                break
        return status, events, done
    finally:
        writer.close()


def raise_file_limit(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = n if hard == resource.RLIM_INFINITY else min(n, hard)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    return want >= n


class ThousandStreams(ServerTest):
    options = ("--max-queued-requests", 500)

    def test_every_one_is_answered_or_refused(self):
        raise_file_limit(4096)
        rng = random.Random(1)

        async def go():
            bodies = [{"input_ids": [rng.randrange(1024) for _ in range(rng.randrange(5, 60))],
                       "sampling_params": {"max_new_tokens": rng.randrange(1, 24), "ignore_eos": True}} for _ in range(1000)]
            return await asyncio.wait_for(asyncio.gather(*(stream(self.server.port, b) for b in bodies)), 600)

        replies = asyncio.run(go())
        self.assertLessEqual({status for status, _, _ in replies}, {200, 503})
        self.assertTrue(all(done and events > 0 for status, events, done in replies if status == 200))
        answered = sum(status == 200 for status, _, _ in replies)
        self.assertGreaterEqual(answered, 400)
        self.assertEqual(self.server.wait_idle()["num_used_tokens"], 0)


class SilentConnections(ServerTest):
    def test_they_cost_the_others_nothing(self):
        count = 2000 if raise_file_limit(4096) else 400
        silent = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(count)]
        try:
            self.assertEqual(self.server.chat("What is the capital of France?")["choices"][0]["message"]["content"], "Paris")
        finally:
            for s in silent:
                s.close()


class Soak(unittest.TestCase):
    """Random requests, hang-ups and aborts in a tiny cache; afterwards everything is free and memory has not grown."""

    def round(self, server, rng, count):
        async def one(i, gate):
            async with gate:
                long = rng.random() < 0.1
                ids = [rng.randrange(1024) for _ in range(rng.randrange(300, 900) if long else rng.randrange(1, 60))]
                if rng.random() < 0.4:
                    ids = self.shared[:rng.randrange(1, len(self.shared))] + ids[:20]
                body = {"input_ids": ids, "rid": f"r{i}", "sampling_params": {"max_new_tokens": rng.randrange(1, 40), "ignore_eos": rng.random() < 0.8,
                                                                             "temperature": rng.choice([0, 1])}}
                stop_after = rng.randrange(0, 6) if rng.random() < 0.2 else None
                return stop_after, await stream(server.port, body, stop_after)

        async def go():
            gate = asyncio.Semaphore(48)
            return await asyncio.wait_for(asyncio.gather(*(one(i, gate) for i in range(count))), 600)

        for stop_after, (status, events, done) in asyncio.run(go()):
            self.assertIn(status, (200, 503))
            if status == 200 and stop_after is None:
                self.assertTrue(done and events > 0)

    def test_tiny_cache(self):
        rng = random.Random(7)
        self.shared = [rng.randrange(1024) for _ in range(400)]
        with Server("--page-size", 16) as probe:
            info = json.loads(probe.get("/server_info")[1])
        tiny = int(info["kv_bytes"] / info["max_total_num_tokens"] * 2000)
        with Server("--page-size", 16, "--kv-memory", tiny, "--context-length", 1200, "--max-running-requests", 24, "--pipeline-depth", 2) as server:
            self.round(server, rng, 300)  # memory of the first use: buffers, arenas
            server.wait_idle()
            before = server.resident_kib()
            for _ in range(3):
                self.round(server, rng, 500)
            state = server.wait_idle()
            self.assertEqual(state["num_used_tokens"], 0, "blocks are missing")
            self.assertEqual(server.request("POST", "/flush_cache")[0], 200)
            self.assertLess(server.resident_kib() - before, 24 * 1024, "memory grew")
