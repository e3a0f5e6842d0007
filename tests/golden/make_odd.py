"""Makes tests/golden/{qwen3.5-odd,deepseek-v3-odd,kimi-linear-odd}: random weights in shapes and spellings that the trained
checkpoints do not have; outputs by a numpy implementation in float64.

    python3 make_odd.py NUMPY_REF [FOLDER]        NUMPY_REF: the folder of the reference's qwen3_5.py, deepseek.py and kimi_linear.py

qwen3.5-odd      text-only class, keys wider than a chunk (72) and values 40, a tensor for each expert, float32 where files keep it, shards
deepseek-v3-odd  a correction bias, 8 groups, weights not renormalised, rotary halves, queries in one step, no dimension a power of two
kimi-linear-odd  the released spelling: 1-based lists of layers, A_log [1,1,H,1], convolutions [C,4]; a correction bias and groups"""
import json, pathlib, sys
import numpy as np
from golden_io import encode, f32, write_safetensors

sys.path.insert(0, sys.argv[1])
import common, deepseek, kimi_linear, qwen3_5

root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
EOS, VOCAB, MARGIN, LIMIT = [1, 5], 300, 0.05, 30
LENGTHS = [1, 2, 15, 17, 31, 40, 48, 55, 60, 63, 64, 65, 128, 129, 200, 330]


class Checkpoint:
    """What is written, and the values it stands for."""
    def __init__(self, seed, config):
        self.config = dict(vocab_size=VOCAB, rms_norm_eps=1e-5, max_position_embeddings=1024, hidden_act="silu", tie_word_embeddings=False, eos_token_id=EOS) | config
        self.rng, self.stored, self.values = np.random.default_rng(seed), {}, {}
    def put(self, name, a, exact=False):
        if exact: self.stored[name], self.values[name] = f32(a), np.asarray(a, np.float32).astype(np.float64)
        else:
            raw, self.values[name] = encode(a, "BF16")
            self.stored[name] = ("BF16", a.shape, raw)
    def matrix(self, name, *shape, gain=1.0): self.put(name + ".weight", self.rng.standard_normal(shape) * gain * shape[-1] ** -0.5)
    def norm(self, name, n, gain=1.0, zero=0, **kw): self.put(name + ".weight", (1 + 0.3 * self.rng.standard_normal(n)) * gain - zero, **kw)
    def mlp(self, p, ffn, names=("gate_proj", "up_proj", "down_proj")):
        h = self.config["hidden_size"]
        self.matrix(p + names[0], ffn, h); self.matrix(p + names[1], ffn, h); self.matrix(p + names[2], h, ffn)
    def ends(self, zero=0):
        h = self.config["hidden_size"]
        self.put("model.embed_tokens.weight", self.rng.standard_normal((VOCAB, h))); self.norm("model.norm", h, zero=zero); self.matrix("lm_head", VOCAB, h, gain=5)
        for i in range(self.config["num_hidden_layers"]):
            for n in ("input_layernorm", "post_attention_layernorm"): self.norm(f"model.layers.{i}.{n}", h, zero=zero)
    def latent_attention(self, a):
        c = self.config
        heads, nope, rope, v, rank, h = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "hidden_size"))
        self.matrix(a + "q_proj", heads * (nope + rope), h, gain=2.5); self.matrix(a + "kv_a_proj_with_mqa", rank + rope, h); self.norm(a + "kv_a_layernorm", rank)
        self.matrix(a + "kv_b_proj", heads * (nope + v), rank); self.matrix(a + "o_proj", h, heads * v)


def qwen():
    c = Checkpoint(51, dict(
        architectures=["Qwen3_5MoeForCausalLM"], model_type="qwen3_5_moe_text", hidden_size=40, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2, head_dim=24,
        layer_types=["linear_attention", "full_attention", "linear_attention", "linear_attention"], num_experts=5, num_experts_per_tok=3, moe_intermediate_size=20,
        shared_expert_intermediate_size=28, linear_num_key_heads=1, linear_num_value_heads=3, linear_key_head_dim=72, linear_value_head_dim=40, linear_conv_kernel_dim=3,
        rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5, mrope_interleaved=True, mrope_section=[2, 2, 2])))
    t, rng, h, d = c.config, c.rng, c.config["hidden_size"], c.config["head_dim"]
    keys, values, taps = t["linear_num_key_heads"] * t["linear_key_head_dim"], t["linear_num_value_heads"] * t["linear_value_head_dim"], t["linear_conv_kernel_dim"]
    c.ends(zero=1)
    for i, kind in enumerate(t["layer_types"]):
        p, m = f"model.layers.{i}.", f"model.layers.{i}.mlp."
        if kind == "full_attention":
            a, q, kv = p + "self_attn.", t["num_attention_heads"] * d, t["num_key_value_heads"] * d
            c.matrix(a + "q_proj", 2 * q, h); c.matrix(a + "k_proj", kv, h); c.matrix(a + "v_proj", kv, h); c.matrix(a + "o_proj", h, q)
            c.norm(a + "q_norm", d, gain=2.5, zero=1); c.norm(a + "k_norm", d, zero=1)
        else:
            a, n = p + "linear_attn.", t["linear_num_value_heads"]
            c.matrix(a + "in_proj_qkv", 2 * keys + values, h); c.matrix(a + "in_proj_z", values, h); c.matrix(a + "in_proj_a", n, h); c.matrix(a + "in_proj_b", n, h)
            c.put(a + "conv1d.weight", 0.7 * rng.standard_normal((2 * keys + values, 1, taps))); c.put(a + "dt_bias", rng.standard_normal(n) - 1)
            c.put(a + "A_log", np.log(rng.uniform(0.01, 4, n)), exact=True); c.norm(a + "norm", t["linear_value_head_dim"], exact=True); c.matrix(a + "out_proj", h, values)
        c.matrix(m + "gate", t["num_experts"], h, gain=2); c.matrix(m + "shared_expert_gate", 1, h); c.mlp(m + "shared_expert.", t["shared_expert_intermediate_size"])
        for e in range(t["num_experts"]): c.mlp(m + f"experts.{e}.", t["moe_intermediate_size"])

    class Reference(qwen3_5.Qwen35):
        def __init__(self):
            self.t, self.v, self.cfg, self.cache, self.rule = t, dict(spatial_merge_size=2), dict(image_token_id=-1), {}, qwen3_5.delta_chunked
            self.w = common.Weights(c.values)
            self.lm, self.head = self.w.sub("model."), self.w["lm_head.weight"]
            self.layers = [self.lm.sub(f"layers.{i}.") for i in range(t["num_hidden_layers"])]
    return c, Reference()


def deepseek_v3():
    c = Checkpoint(52, dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", hidden_size=72, intermediate_size=88, moe_intermediate_size=20, num_hidden_layers=3, num_attention_heads=5,
        num_key_value_heads=5, q_lora_rank=None, kv_lora_rank=40, qk_nope_head_dim=24, qk_rope_head_dim=12, v_head_dim=20, n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=3,
        n_group=8, topk_group=3, norm_topk_prob=False, routed_scaling_factor=2.5, first_k_dense_replace=1, rope_interleave=False, rope_theta=1e4, rope_scaling=None))
    t = c.config
    c.ends()
    for i in range(t["num_hidden_layers"]):
        m = f"model.layers.{i}.mlp."
        c.latent_attention(f"model.layers.{i}.self_attn.")
        if i < t["first_k_dense_replace"]: c.mlp(m, t["intermediate_size"]); continue
        c.matrix(m + "gate", t["n_routed_experts"], t["hidden_size"], gain=2)
        c.put(m + "gate.e_score_correction_bias", 0.3 * c.rng.standard_normal(t["n_routed_experts"]), exact=True)
        for e in range(t["n_routed_experts"]): c.mlp(m + f"experts.{e}.", t["moe_intermediate_size"])
        c.mlp(m + "shared_experts.", t["moe_intermediate_size"])
    ref = object.__new__(deepseek.DeepSeek)
    ref.c, ref.w, ref.scale, ref.rope = t, c.values, deepseek.softmax_scale(t), deepseek.base.rope_halves
    return c, ref


def kimi():
    linear = dict(kda_layers=[1, 2, 4], full_attn_layers=[3], num_heads=3, head_dim=24, short_conv_kernel_size=4)
    c = Checkpoint(53, dict(
        architectures=["KimiLinearForCausalLM"], model_type="kimi_linear", hidden_size=56, intermediate_size=72, moe_intermediate_size=20, num_hidden_layers=4, num_attention_heads=5,
        num_key_value_heads=5, q_lora_rank=None, kv_lora_rank=40, qk_nope_head_dim=24, qk_rope_head_dim=12, v_head_dim=20, num_experts=8, num_experts_per_token=3, num_shared_experts=1,
        num_expert_group=4, topk_group=2, use_grouped_topk=True, moe_renormalize=True, moe_router_activation_func="sigmoid", routed_scaling_factor=2.446, first_k_dense_replace=1,
        moe_layer_freq=1, mla_use_nope=True, rope_theta=1e4, rope_scaling=None, model_max_length=1024, linear_attn_config=linear))
    t, rng, h, d = c.config, c.rng, linear["num_heads"], linear["head_dim"]
    c.ends()
    for i in range(t["num_hidden_layers"]):
        p, a, m = f"model.layers.{i}.", f"model.layers.{i}.self_attn.", f"model.layers.{i}.block_sparse_moe."
        if i + 1 in linear["full_attn_layers"]: c.latent_attention(a)
        else:
            for n in "qkv":
                c.matrix(a + n + "_proj", h * d, t["hidden_size"]); c.put(a + n + "_conv1d.weight", 0.7 * rng.standard_normal((h * d, linear["short_conv_kernel_size"])), exact=True)
            for n in "fg": c.matrix(a + n + "_a_proj", d, t["hidden_size"]); c.matrix(a + n + "_b_proj", h * d, d)
            c.matrix(a + "b_proj", h, t["hidden_size"]); c.matrix(a + "o_proj", t["hidden_size"], h * d); c.norm(a + "o_norm", d)
            c.put(a + "A_log", np.log(rng.uniform(0.01, 4, (1, 1, h, 1))), exact=True); c.put(a + "dt_bias", rng.standard_normal(h * d) - 1, exact=True)
        if i < t["first_k_dense_replace"]: c.mlp(p + "mlp.", t["intermediate_size"]); continue
        c.matrix(m + "gate", t["num_experts"], t["hidden_size"], gain=2)
        c.put(m + "gate.e_score_correction_bias", 0.3 * rng.standard_normal(t["num_experts"]), exact=True)
        for e in range(t["num_experts"]): c.mlp(m + f"experts.{e}.", t["moe_intermediate_size"], ("w1", "w3", "w2"))
        c.mlp(m + "shared_experts.", t["moe_intermediate_size"])
    ref = object.__new__(kimi_linear.KimiLinear)
    ref.c, ref.w, ref.s, ref.rule = t, c.values, kimi_linear.settings(t), kimi_linear.kda_chunked
    ref.scale = (t["qk_nope_head_dim"] + t["qk_rope_head_dim"]) ** -0.5
    return c, ref


def greedy(ref, prompt):
    """Ends before the first token whose margin is too small to ask for it."""
    ids, output, top5 = list(prompt), [], []
    while len(output) < LIMIT and not (output and output[-1] in EOS):
        z = ref.forward(np.array(ids))[1][-1]
        lp = z - z.max(); lp = lp - np.log(np.exp(lp).sum())
        best = np.argsort(-lp, kind="stable")[:5]
        if lp[best[0]] - lp[best[1]] < MARGIN: break
        output.append(int(best[0])); ids.append(output[-1]); top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
    return output, top5


def make(name, c, ref, files):
    rng, cases = np.random.default_rng(60), []
    shared = rng.integers(6, VOCAB, 200).tolist()
    for n in LENGTHS:
        output = []
        while len(output) < 16:
            prompt = shared[:n // 2] + rng.integers(6, VOCAB, n - n // 2).tolist()
            output, top5 = greedy(ref, prompt)
        cases.append({"name": f"random-{n}", "prompt_ids": prompt, "output_ids": output, "top5": top5})
    out = root / name
    out.mkdir(exist_ok=True)
    names = sorted(c.stored)
    for i, file in enumerate(files): write_safetensors(out / file, {n: c.stored[n] for n in names[i::len(files)]})
    if len(files) > 1:
        (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {n: files[i % len(files)] for i, n in enumerate(names)}}))
    word = cases[5]["prompt_ids"]
    write_safetensors(out / "hidden.safetensors", {"word.input_ids": ("I32", (len(word),), np.array(word, np.int32).tobytes()),
                                                   **{f"word.hidden.{i}": f32(h) for i, h in enumerate(ref.forward(np.array(word))[0])}})
    (out / "golden.json").write_text(json.dumps({"made_by": "make_odd.py", "eos_token_ids": EOS, "cases": cases}))
    (out / "config.json").write_text(json.dumps(c.config, indent=1) + "\n")
    print(out, sum(len(c["output_ids"]) for c in cases), "tokens", flush=True)


make("qwen3.5-odd", *qwen(), ["a.safetensors", "part_two.safetensors", "model-00009-of-00003.safetensors"])
make("deepseek-v3-odd", *deepseek_v3(), ["model.safetensors"])
make("kimi-linear-odd", *kimi(), ["model.safetensors"])
