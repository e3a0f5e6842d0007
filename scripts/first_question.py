"""first_question.py PID [options of `xylem serve`]: waits for the server of that process, asks it one question, shows the answer."""
import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

QUESTION = "Tom has 17 apples, finds 25 more and gives away 9. How many apples are left?"


def alive(pid):
    """Whether the process is (still, or not yet) the shell or server that started us."""
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


def wait_until_healthy(pid, url):
    while alive(pid):
        time.sleep(0.1)
        try:
            with urllib.request.urlopen(url + "/health", timeout=20):
                return alive(pid)
        except (urllib.error.URLError, OSError):
            pass
    return False


def ask(url, key):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Bearer " + key
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 200}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)


def main():
    pid = int(sys.argv[1])
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--api-key", default="")
    options, _ = parser.parse_known_args(sys.argv[2:])
    if options.port == 0:
        return  # any free port: the server's log names it
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    url = f"http://{host}:{options.port}"
    time.sleep(0.3)  # a server that cannot have the port ends at once: another one's answer must not pass for its own
    if not wait_until_healthy(pid, url):
        return  # the server has said why
    begin = time.monotonic()
    try:
        reply = ask(url, options.api_key)
    except (urllib.error.URLError, OSError, ValueError) as e:
        print(f"The question got no answer: {e}", flush=True)
        return
    seconds = time.monotonic() - begin
    print(f"\nQ: {QUESTION}\nA: {reply['choices'][0]['message']['content']}")
    print(f"\n{reply['usage']['completion_tokens'] / seconds:.1f} tokens per second")
    print(f"Serving on {url} (try {url}/v1/models). Ctrl-C ends it.", flush=True)


main()
