"""Makes tests/golden/qwen3: a Qwen3 checkpoint of random weights, and what float64 numpy computes from it.

    python3 make_qwen3.py [FOLDER]        needs numpy

Formulas: Qwen3 (grouped-query attention, RMS norm of each query and key head before the rotation, SwiGLU, untied head), written
here from the definition of each part; nothing is shared with the program under test."""
import json, pathlib, sys
import numpy as np
from golden_io import encode, f32, write_safetensors

HIDDEN, LAYERS, HEADS, KV_HEADS, DIM, FFN, VOCAB, THETA, EPS = 64, 3, 6, 2, 32, 96, 512, 1e6, 1e-6
EOS = [1, 5]
out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "qwen3")
rng = np.random.default_rng(20)


stored, w = {}, {}
def weight(name, *shape, norm=False):
    a = 1 + 0.3 * rng.standard_normal(shape) if norm else rng.standard_normal(shape) * (2.0 if "lm_head" in name else 1.0) * shape[-1] ** -0.5
    raw, w[name] = encode(a, "BF16")
    stored[name + ".weight"] = ("BF16", shape, raw)


weight("model.embed_tokens", VOCAB, HIDDEN)
for i in range(LAYERS):
    p = f"model.layers.{i}."
    for n in ("input_layernorm", "post_attention_layernorm"): weight(p + n, HIDDEN, norm=True)
    for n in ("q_norm", "k_norm"): weight(p + "self_attn." + n, DIM, norm=True)
    weight(p + "self_attn.q_proj", HEADS * DIM, HIDDEN); weight(p + "self_attn.o_proj", HIDDEN, HEADS * DIM)
    for n in ("k_proj", "v_proj"): weight(p + "self_attn." + n, KV_HEADS * DIM, HIDDEN)
    for n in ("gate_proj", "up_proj"): weight(p + "mlp." + n, FFN, HIDDEN)
    weight(p + "mlp.down_proj", HIDDEN, FFN)
weight("model.norm", HIDDEN, norm=True)
weight("lm_head", VOCAB, HIDDEN)


def rms(x, g): return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + EPS) * g


def forward(ids):
    """Hidden states (before layer 0, after each layer but the last, after the last norm) and log-probabilities of every position."""
    n = len(ids)
    angle = np.arange(n)[:, None, None] * THETA ** (-np.arange(0, DIM, 2) / DIM)
    def rotate(x):
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)
    x = w["model.embed_tokens"][ids]
    hidden = [x]
    for i in range(LAYERS):
        g = lambda name: w[f"model.layers.{i}.{name}"]
        a = rms(x, g("input_layernorm"))
        q = rotate(rms((a @ g("self_attn.q_proj").T).reshape(n, HEADS, DIM), g("self_attn.q_norm")))
        k = rotate(rms((a @ g("self_attn.k_proj").T).reshape(n, KV_HEADS, DIM), g("self_attn.k_norm")))
        v = (a @ g("self_attn.v_proj").T).reshape(n, KV_HEADS, DIM)
        k, v = (np.repeat(t, HEADS // KV_HEADS, 1) for t in (k, v))
        s = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(DIM)
        s = np.where(np.tril(np.ones((n, n), bool)), s, -np.inf)
        s = np.exp(s - s.max(-1, keepdims=True))
        x = x + np.einsum("hqk,khd->qhd", s / s.sum(-1, keepdims=True), v).reshape(n, -1) @ g("self_attn.o_proj").T
        a = rms(x, g("post_attention_layernorm"))
        gate = a @ g("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (a @ g("mlp.up_proj").T)) @ g("mlp.down_proj").T
        hidden.append(x)
    hidden[-1] = x = rms(x, w["model.norm"])
    z = x @ w["lm_head"].T
    z = z - z.max(-1, keepdims=True)
    return hidden, z - np.log(np.exp(z).sum(-1, keepdims=True))


def greedy(prompt, limit):
    ids, output, top5 = list(prompt), [], []
    while len(output) < limit and not (output and output[-1] in EOS):
        lp = forward(ids)[1][-1]
        best = np.argsort(-lp, kind="stable")[:5]
        output.append(int(best[0])); ids.append(output[-1])
        top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
    return output, top5


cases = []
shared = rng.integers(6, VOCAB, 200).tolist()
for n in [1, 2, 15, 16, 17, 31, 40, 48, 55, 60, 63, 64, 65, 130, 200, 260, 330, 400, 500]:
    prompt = shared[:min(n // 2, 200)] + rng.integers(6, VOCAB, n - min(n // 2, 200)).tolist()
    output, top5 = greedy(prompt, 36)
    cases.append({"name": f"random-{n}", "prompt_ids": prompt, "output_ids": output, "top5": top5})
out.mkdir(exist_ok=True)
write_safetensors(out / "model.safetensors", stored)
word = cases[6]["prompt_ids"]
write_safetensors(out / "hidden.safetensors", {"word.input_ids": ("I32", (len(word),), np.array(word, np.int32).tobytes()),
                                               **{f"word.hidden.{i}": f32(h) for i, h in enumerate(forward(word)[0])}})
(out / "golden.json").write_text(json.dumps({"made_by": "make_qwen3.py", "eos_token_ids": EOS, "cases": cases}))
(out / "config.json").write_text(json.dumps({
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "head_dim": DIM, "intermediate_size": FFN, "vocab_size": VOCAB, "rms_norm_eps": EPS, "rope_theta": THETA,
    "hidden_act": "silu", "tie_word_embeddings": False, "max_position_embeddings": 2048, "eos_token_id": EOS}, indent=1) + "\n")
print(f"{out}: {len(cases)} cases, {sum(len(c['output_ids']) for c in cases)} tokens")
