"""Makes tests/golden/gemma4-odd-e and gemma4-odd-moe: random weights where the trained checkpoints hold ones and zeros (layer
scalars, expert scales), other shapes, other float types, sharded files, the text-only class; outputs by a numpy implementation.

    python3 make_gemma4_odd.py NUMPY_REF [FOLDER]        NUMPY_REF: the folder of the reference's gemma4.py and common.py"""
import json, pathlib, sys
import numpy as np
from golden_io import encode, f32, write_safetensors

sys.path.insert(0, sys.argv[1])
import common, gemma4

root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
EOS, VOCAB = [1, 5], 512


def config(hidden, kinds, **more):
    return dict(dict(
        architectures=["Gemma4ForCausalLM"], model_type="gemma4_text", hidden_size=hidden, vocab_size=VOCAB, num_hidden_layers=len(kinds),
        layer_types=[{"s": "sliding_attention", "f": "full_attention"}[k] for k in kinds], hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
        attention_k_eq_v=False, num_kv_shared_layers=0, use_double_wide_mlp=False, hidden_size_per_layer_input=0, vocab_size_per_layer_input=VOCAB,
        enable_moe_block=False, use_bidirectional_attention=None, max_position_embeddings=2048, pad_token_id=0, tie_word_embeddings=True, eos_token_id=EOS,
        rope_parameters=dict(full_attention=dict(rope_type="proportional", partial_rotary_factor=0.5, rope_theta=1e6),
                             sliding_attention=dict(rope_type="default", rope_theta=1e4))), **more)


def make(name, seed, t, dtype, shards, per_expert=False):
    rng, values, stored, prefix = np.random.default_rng(seed), {}, {}, "model."
    H, L, P = t["hidden_size"], t["num_hidden_layers"], t["hidden_size_per_layer_input"]
    def put(n, *shape, norm=None):
        a = norm + 0.3 * rng.standard_normal(shape) if norm else rng.standard_normal(shape) * (1.0 if "embed" in n else shape[-1] ** -0.5)
        raw, values["model.language_model." + n] = encode(a, dtype)
        stored[prefix + n] = (dtype, shape, raw)
    put("embed_tokens.weight", VOCAB, H); put("norm.weight", H, norm=1)
    if P: put("embed_tokens_per_layer.weight", VOCAB, L * P); put("per_layer_model_projection.weight", L * P, H); put("per_layer_projection_norm.weight", P, norm=1)
    for i, kind in enumerate(t["layer_types"]):
        p, full, owns = f"layers.{i}.", kind == "full_attention", i < L - t["num_kv_shared_layers"]
        d = t["global_head_dim"] if full else t["head_dim"]
        kv = t["num_global_key_value_heads"] if full and t["attention_k_eq_v"] else t["num_key_value_heads"]
        for n in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"): put(p + n + ".weight", H, norm=1)
        put(p + "layer_scalar", 1, norm=0.8)
        put(p + "self_attn.q_proj.weight", t["num_attention_heads"] * d, H); put(p + "self_attn.o_proj.weight", H, t["num_attention_heads"] * d); put(p + "self_attn.q_norm.weight", d, norm=0.5)
        if owns or i % 2:  # released files hold dead weights in layers that share a cache
            put(p + "self_attn.k_proj.weight", kv * d, H); put(p + "self_attn.k_norm.weight", d, norm=0.5)
            if not (full and t["attention_k_eq_v"]): put(p + "self_attn.v_proj.weight", kv * d, H)
        f = t["intermediate_size"] * (2 if t["use_double_wide_mlp"] and not owns else 1)
        put(p + "mlp.gate_proj.weight", f, H); put(p + "mlp.up_proj.weight", f, H); put(p + "mlp.down_proj.weight", H, f)
        if P: put(p + "per_layer_input_gate.weight", P, H); put(p + "per_layer_projection.weight", H, P); put(p + "post_per_layer_input_norm.weight", H, norm=1)
        if t["enable_moe_block"]:
            E, I = t["num_experts"], t["moe_intermediate_size"]
            for n in ("pre_feedforward_layernorm_2", "post_feedforward_layernorm_1", "post_feedforward_layernorm_2"): put(p + n + ".weight", H, norm=1)
            put(p + "router.proj.weight", E, H); put(p + "router.scale", H, norm=1); put(p + "router.per_expert_scale", E, norm=1)
            put(p + "experts.gate_up_proj", E, 2 * I, H); put(p + "experts.down_proj", E, H, I)
    if per_expert:
        for n in [n for n in stored if ".experts." in n]:
            a = values[n.replace(prefix, "model.language_model.", 1)]
            for e in range(len(a)):
                parts = {"gate_proj": a[e, :len(a[e]) // 2], "up_proj": a[e, len(a[e]) // 2:]} if "gate_up" in n else {"down_proj": a[e]}
                for part, m in parts.items(): stored[n[:n.rindex(".") + 1] + f"{e}.{part}.weight"] = (dtype, m.shape, encode(m, dtype)[0])
            del stored[n]

    class Reference(gemma4.Gemma4):
        def __init__(self):
            self.t, self.v, self.cache = t, {}, {}
            self.cfg = {k + "_token_id": -1 for k in ("image", "video", "audio")}
            self.w = common.Weights(values)
            self.lm = self.w.sub("model.language_model.")
            self.layers = [self.lm.sub(f"layers.{i}.") for i in range(L)]
    ref, cases = Reference(), []
    shared = rng.integers(6, VOCAB, 200).tolist()
    for n in [1, 2, 15, 16, 17, 31, 40, 48, 55, 60, 63, 64, 65, 130, 200, 260, 330, 400, 500]:
        prompt = shared[:n // 2] + rng.integers(6, VOCAB, n - n // 2).tolist()
        if n == 500: prompt = shared + prompt[200:]
        ids, output, top5 = list(prompt), [], []
        while len(output) < 36 and not (output and output[-1] in EOS):
            z = ref.forward(np.array(ids))[1][-1]
            lp = z - z.max(); lp = lp - np.log(np.exp(lp).sum())
            best = np.argsort(-lp, kind="stable")[:5]
            output.append(int(best[0])); ids.append(output[-1]); top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
        cases.append({"name": f"random-{n}", "prompt_ids": prompt, "output_ids": output, "top5": top5})

    out = root / name
    out.mkdir(exist_ok=True)
    names = sorted(stored)
    if shards == 1: write_safetensors(out / "model.safetensors", stored)
    else:
        file = lambda i: f"model-{i + 1:05}-of-{shards:05}.safetensors"
        for i in range(shards): write_safetensors(out / file(i), {n: stored[n] for n in names[i::shards]})
        (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {n: file(i % shards) for i, n in enumerate(names)}}))
    word = cases[6]["prompt_ids"]
    write_safetensors(out / "hidden.safetensors", {"word.input_ids": ("I32", (len(word),), np.array(word, np.int32).tobytes()),
                                                   **{f"word.hidden.{i}": f32(h) for i, h in enumerate(ref.forward(np.array(word))[0])}})
    (out / "golden.json").write_text(json.dumps({"made_by": "make_gemma4_odd.py", "eos_token_ids": EOS, "cases": cases}))
    (out / "config.json").write_text(json.dumps(t, indent=1) + "\n")
    print(out, sum(len(c["output_ids"]) for c in cases), "tokens")


make("gemma4-odd-e", 31, config(72, "ssfsfsf", intermediate_size=56, num_attention_heads=6, num_key_value_heads=2, head_dim=24, global_head_dim=40, sliding_window=19,
     num_kv_shared_layers=3, use_double_wide_mlp=True, hidden_size_per_layer_input=12, final_logit_softcapping=11.0), "F16", 3)
make("gemma4-odd-moe", 32, config(56, "sfsf", intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_global_key_value_heads=1, head_dim=16, global_head_dim=48,
     sliding_window=33, attention_k_eq_v=True, enable_moe_block=True, num_experts=5, top_k_experts=3, moe_intermediate_size=20, final_logit_softcapping=30.0), "BF16", 1, per_expert=True)
