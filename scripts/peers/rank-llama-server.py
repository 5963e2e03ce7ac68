#!/usr/bin/env python3
"""Ranking of one-token choices by llama-server with prompt caching: one request a row, which computes what of the row's prompt is not in the
slot's cache, and gives the choices' probabilities. The choices alone are let through the sampler, so that the answer is these and no more.

usage: rank-llama-server.py MODEL.gguf [--rows 32] [--slots 1] [--threads T] [--shots 600] [--question 100] [--choices 4] [--vocab 32000]
                            [--server llama-server] [--port P] [-- ARGUMENTS OF THE SERVER]

Prompts are random token ids of the lengths given: no text is tokenized. The server is up and warm before the clock starts, but has not seen the
shots: the first row of each slot pays for them. Prints JSON: rows, seconds, rate, prompt_tokens (that the server says it computed).
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time


def arguments():
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--rows", type=int, default=32)
    p.add_argument("--slots", type=int, default=1)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--shots", type=int, default=600)
    p.add_argument("--question", type=int, default=100)
    p.add_argument("--choices", type=int, default=4)
    p.add_argument("--vocab", type=int, default=32000)
    p.add_argument("--server", default="llama-server")
    p.add_argument("--port", type=int, default=0)
    a = p.parse_args(own)
    return a, rest


class Client:
    """One connection that is kept open, and made anew where the server has found it idle for too long."""

    def __init__(self, port):
        self.conn = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def post(self, body):
        for again in (True, False):
            try:
                if self.conn.sock is None:
                    self.conn.connect()
                    self.conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.conn.request("POST", "/completion", body, {"Content-Type": "application/json"})
                answer = self.conn.getresponse()
                return answer.status, answer.read()
            except ConnectionError:
                self.conn.close()
                if not again:
                    raise

    def ask(self, prompt, slot, choices):
        body = {"prompt": prompt, "n_predict": 1, "id_slot": slot, "cache_prompt": True, "temperature": 1.0, "samplers": ["temperature"],
                "n_probs": choices, "post_sampling_probs": True, "logit_bias": [[c + 3, 1000.0] for c in range(choices)], "seed": 1}
        status, text = self.post(json.dumps(body))
        if status != 200:
            sys.exit(f"rank-llama-server: {status}: {text[:500]!r}")
        answer = json.loads(text)
        got = {t["id"]: t["prob"] for t in answer["completion_probabilities"][0]["top_probs"]}
        if sorted(got) != [c + 3 for c in range(choices)]:
            sys.exit(f"rank-llama-server: probabilities came of {sorted(got)}")
        return max(got, key=got.get), answer["timings"]["prompt_n"]


def wait(port, server):
    for _ in range(1200):
        if server.poll() is not None:
            sys.exit(f"rank-llama-server: the server ended with {server.returncode}")
        try:
            conn = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            conn.request("GET", "/health")
            if conn.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("rank-llama-server: the server does not come up")


def measure(a, port):
    rng = random.Random(1)
    draw = lambda n: [rng.randrange(3, a.vocab) for _ in range(n)]
    shots = draw(a.shots)
    rows = [shots + draw(a.question) for _ in range(a.rows)]
    clients = [Client(port) for _ in range(a.slots)]
    for slot, c in enumerate(clients):
        c.ask(draw(32), slot, a.choices)  # warm, with nothing of what comes

    def drain(slot):
        return [clients[slot].ask(rows[i], slot, a.choices) for i in range(slot, a.rows, a.slots)]

    begun = time.time()
    with concurrent.futures.ThreadPoolExecutor(a.slots) as pool:
        answers = [x for part in pool.map(drain, range(a.slots)) for x in part]
    seconds = time.time() - begun
    return {"rows": len(answers), "seconds": seconds, "rate": len(answers) / seconds, "prompt_tokens": sum(n for _, n in answers)}


def main():
    a, rest = arguments()
    port = a.port
    if not port:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
    context = (a.shots + a.question + 64 + 255) // 256 * 256
    command = [a.server, "-m", a.model, "--port", str(port), "--host", "127.0.0.1", "-np", str(a.slots), "-c", str(a.slots * context),
               "-t", str(a.threads), "-tb", str(a.threads), "--log-disable", *rest]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(port, server)
        print(json.dumps(measure(a, port)))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
