"""Makes tests/golden/deepseek-fp8: a DeepSeek-V3 checkpoint of random weights in float8 with scales for blocks of 128 x 128, as the
released one, and what float64 numpy computes from the dequantised weights.

    python3 make_fp8.py [FOLDER]          needs numpy, and ../shared/oracle/numpy_ref beside the repository (XYLEM_SHARED)

Dimensions are odd: the last block of almost every matrix is a partial one, and the parts of fused matrices begin inside a block.
The selection bias is not zero. Tensors of the next layer (multi-token prediction) are there to be skipped."""
import json, os, pathlib, sys
import numpy as np
from golden_io import encode, f32, write_safetensors

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(pathlib.Path(os.environ.get("XYLEM_SHARED", here.parents[2] / "shared")) / "oracle" / "numpy_ref"))
import base, deepseek

HIDDEN, LAYERS, HEADS, NOPE, ROPE, V, Q_RANK, KV_RANK = 160, 3, 3, 28, 16, 20, 136, 136
FFN, EXPERTS, MOE_FFN, VOCAB, BLOCK = 144, 8, 72, 384, 128
EOS = 1
CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "q_lora_rank": Q_RANK, "kv_lora_rank": KV_RANK, "qk_nope_head_dim": NOPE, "qk_rope_head_dim": ROPE, "v_head_dim": V,
    "intermediate_size": FFN, "moe_intermediate_size": MOE_FFN, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_routed_experts": EXPERTS, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
    "routed_scaling_factor": 1.5, "num_nextn_predict_layers": 1, "attention_bias": False, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 512, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "max_position_embeddings": 2048, "vocab_size": VOCAB, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": EOS,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK], "activation_scheme": "dynamic"}}

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here / "deepseek-fp8")
rng = np.random.default_rng(31)

# ---------------------------------------------------------------- float8: 4 exponent bits of bias 7, 0x7f is NaN

CODES = np.array([(c & 7) / 512 if c < 8 else (1 + (c & 7) / 8) * 2.0 ** ((c >> 3) - 7) for c in range(127)])

def float8(a):
    """Codes, the nearest with ties to the even one."""
    m = np.abs(a)
    hi = np.clip(np.searchsorted(CODES, m), 1, 126)
    lo = hi - 1
    up, down = CODES[hi] - m, m - CODES[lo]
    code = np.where((up < down) | ((up == down) & (hi % 2 == 0)), hi, lo)
    return (code | np.where(a < 0, 128, 0)).astype(np.uint8)

def blocks(a): return -(-a // BLOCK)

stored, weights = {}, {}

def quantised(name, n, k, gain=1.0):
    a = rng.standard_normal((n, k)) * gain * k ** -0.5
    # Blocks of other sizes: a scale that is taken from the neighbour changes every token.
    a *= np.repeat(np.repeat(rng.choice([0.5, 1.0, 1.5], (blocks(n), blocks(k))), BLOCK, 0), BLOCK, 1)[:n, :k]
    scale = np.array([[np.abs(a[i:i + BLOCK, j:j + BLOCK]).max() / 448 for j in range(0, k, BLOCK)] for i in range(0, n, BLOCK)], np.float32)
    each = np.repeat(np.repeat(scale.astype(np.float64), BLOCK, 0), BLOCK, 1)[:n, :k]
    codes = float8(a / each)
    stored[name] = ("F8_E4M3", (n, k), codes.tobytes())
    stored[name + "_scale_inv"] = f32(scale)
    weights[name] = np.where(codes > 127, -1, 1) * CODES[codes & 127] * each

def plain(name, *shape, mean=0.0, spread=None, dtype="BF16"):
    a = mean + rng.standard_normal(shape) * (shape[-1] ** -0.5 if spread is None else spread)
    if dtype == "F32":
        a = a.astype(np.float32)
        stored[name], weights[name] = f32(a), a.astype(np.float64)
        return
    raw, weights[name] = encode(a, dtype)
    stored[name] = (dtype, shape, raw)

def norm(name, n): plain(name, n, mean=1.0, spread=0.3)

def mlp(name, n):
    for part in ("gate_proj", "up_proj"): quantised(f"{name}.{part}.weight", n, HIDDEN)
    quantised(f"{name}.down_proj.weight", HIDDEN, n)

plain("model.embed_tokens.weight", VOCAB, HIDDEN, spread=1.0)
for i in range(LAYERS):
    p = f"model.layers.{i}."
    norm(p + "input_layernorm.weight", HIDDEN); norm(p + "post_attention_layernorm.weight", HIDDEN)
    norm(p + "self_attn.q_a_layernorm.weight", Q_RANK); norm(p + "self_attn.kv_a_layernorm.weight", KV_RANK)
    quantised(p + "self_attn.q_a_proj.weight", Q_RANK, HIDDEN); quantised(p + "self_attn.q_b_proj.weight", HEADS * (NOPE + ROPE), Q_RANK)
    quantised(p + "self_attn.kv_a_proj_with_mqa.weight", KV_RANK + ROPE, HIDDEN); quantised(p + "self_attn.kv_b_proj.weight", HEADS * (NOPE + V), KV_RANK)
    quantised(p + "self_attn.o_proj.weight", HIDDEN, HEADS * V)
    if i < CONFIG["first_k_dense_replace"]:
        mlp(p + "mlp", FFN)
        continue
    plain(p + "mlp.gate.weight", EXPERTS, HIDDEN, spread=0.2)
    plain(p + "mlp.gate.e_score_correction_bias", EXPERTS, spread=0.2, dtype="F32")
    for e in range(EXPERTS): mlp(p + f"mlp.experts.{e}", MOE_FFN)
    mlp(p + "mlp.shared_experts", MOE_FFN)
norm("model.norm.weight", HIDDEN)
plain("lm_head.weight", VOCAB, HIDDEN, spread=2.0 * HIDDEN ** -0.5)
for n in ("enorm", "hnorm", "shared_head.norm"): norm(f"model.layers.{LAYERS}.{n}.weight", HIDDEN)

# ---------------------------------------------------------------- the reference

model = object.__new__(deepseek.DeepSeek)
model.c, model.w, model.scale, model.rope = CONFIG, weights, deepseek.softmax_scale(CONFIG), base.rope_pairs

def greedy(prompt, limit):
    """Tokens, their best five log-probabilities, and how close a choice was."""
    cache, ids, output, top5, closest = [None] * LAYERS, list(prompt), [], [], np.inf
    while len(output) < limit and not (output and output[-1] == EOS):
        z = model.forward(ids, last_only=True, cache=cache)[1][-1]
        lp = z - z.max() - np.log(np.exp(z - z.max()).sum())
        best = np.argsort(-lp, kind="stable")[:5]
        closest = min(closest, lp[best[0]] - lp[best[1]])
        output.append(int(best[0])); ids = [output[-1]]
        top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
    return output, top5, closest

cases, skipped = [], 0
shared = rng.integers(6, VOCAB, 200).tolist()
for n in [1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 128, 129, 200, 300, 520]:
    prompt = shared[:min(n // 2, 200)] + rng.integers(6, VOCAB, n - min(n // 2, 200)).tolist()
    output, top5, closest = greedy(prompt, 24)
    if closest < 1e-3:  # float32 may choose the other
        skipped += 1
        continue
    cases.append({"name": f"random-{n}", "prompt_ids": prompt, "output_ids": output, "top5": top5})
out.mkdir(exist_ok=True)
write_safetensors(out / "model.safetensors", stored)
word = shared[:24]
write_safetensors(out / "hidden.safetensors", {"word.input_ids": ("I32", (len(word),), np.array(word, np.int32).tobytes()),
                                               **{f"word.hidden.{i}": f32(h) for i, h in enumerate(model.forward(word)[0])}})
(out / "golden.json").write_text(json.dumps({"made_by": "make_fp8.py", "eos_token_ids": [EOS], "cases": cases}))
(out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
print(f"{out}: {len(cases)} cases, {sum(len(c['output_ids']) for c in cases)} tokens; {skipped} left out for close choices")
