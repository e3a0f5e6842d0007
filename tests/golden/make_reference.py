"""Makes tests/golden/{llama,mistral,qwen2,qwen2-window,qwen3-moe,gemma3}: random weights, and what transformers computes from them
in float32: the whole sequence again for every token, eager attention, no cache.

    python3 make_reference.py [NAME...] [--out FOLDER]        needs numpy, torch and transformers 5 (made with 2.11 and 5.17), no GPU

The weights are wider than a fresh model's: attention looks at few positions, so that rotations and windows show in the
outputs, and logits lie far apart. An output ends before the first token whose margin is below MARGIN."""
import argparse, json, pathlib, sys
import numpy as np
import torch, transformers
from golden_io import f32, write_safetensors

EOS, VOCAB, MARGIN, LIMIT = [1, 5], 384, 0.05, 36
LENGTHS = [1, 2, 15, 16, 17, 31, 40, 48, 55, 60, 63, 64, 65, 130, 200, 330, 500]
common = dict(vocab_size=VOCAB, max_position_embeddings=1024, eos_token_id=EOS, bos_token_id=0, pad_token_id=None, rms_norm_eps=1e-6)
plain = dict(rope_type="default", rope_theta=1e4)

MODELS = {
    # llama3 scaling with a frequency in each of its three bands, prompts beyond the original length
    "llama": lambda: transformers.LlamaConfig(
        **common, hidden_size=72, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)),
    # a window in every layer, heads that do not share out the hidden size
    "mistral": lambda: transformers.MistralConfig(
        **common, hidden_size=64, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3, head_dim=20, sliding_window=37, rope_parameters=plain),
    "qwen2": lambda: transformers.Qwen2Config(
        **common, hidden_size=80, intermediate_size=104, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    # the last two of four layers slide
    "qwen2-window": lambda: transformers.Qwen2Config(
        **common, hidden_size=64, intermediate_size=88, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, use_sliding_window=True, sliding_window=29, max_window_layers=2,
        rope_parameters=plain),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(
        **common, hidden_size=64, intermediate_size=72, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=24, num_experts=7, num_experts_per_tok=3,
        moe_intermediate_size=24, norm_topk_prob=True, mlp_only_layers=[1], rope_parameters=plain),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **common, hidden_size=64, intermediate_size=88, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2, head_dim=24, query_pre_attn_scalar=20, sliding_window=21,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e5), sliding_attention=dict(rope_type="default", rope_theta=1e4))),
}


def fill(model, rng):
    config, gemma = model.config, "gemma" in model.config.model_type
    normed = any("q_norm" in n for n, _ in model.named_parameters())
    for name, p in sorted(model.named_parameters()):
        a = rng.standard_normal(p.shape)
        if name.endswith("bias"): a = 0.5 * a
        elif name.endswith("norm.weight"):
            a = (1 + 0.3 * a) * (2.5 if "q_norm" in name else 1)
            # Signs at the end, so that the embedding still in the residual does not answer with the token itself where it is the head too.
            if name == "model.norm.weight": a *= rng.choice([-1, 1], p.shape) * (5 if gemma else 1)
            a -= gemma
        elif "embed_tokens" in name: a = a * (0.2 if gemma else 0.6 if config.tie_word_embeddings else 1)
        elif "lm_head" in name: a = a * 5 * p.shape[-1] ** -0.5
        else: a = a * p.shape[-1] ** -0.5 * (2.5 if "q_proj" in name and not normed else 2 if name.endswith("mlp.gate.weight") else 1)
        p.data = torch.tensor(a, dtype=torch.bfloat16)


@torch.no_grad()
def forward(model, ids, hidden=False):
    """Log-probabilities after the last token, and all hidden states."""
    y = model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=hidden)
    return torch.log_softmax(y.logits[0, -1].double(), -1).numpy(), y.hidden_states


def greedy(model, prompt):
    ids, output, top5 = list(prompt), [], []
    while len(output) < LIMIT and not (output and output[-1] in EOS):
        lp = forward(model, ids)[0]
        best = np.argsort(-lp, kind="stable")[:5]
        if lp[best[0]] - lp[best[1]] < MARGIN: break
        output.append(int(best[0])); ids.append(output[-1])
        top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
    return output, top5


def make(name, out):
    rng = np.random.default_rng(40 + list(MODELS).index(name))
    model = transformers.AutoModelForCausalLM.from_config(MODELS[name](), dtype=torch.bfloat16)
    fill(model, rng)
    model.generation_config = transformers.GenerationConfig(eos_token_id=EOS)
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    (out / "generation_config.json").unlink()  # says nothing that the config does not
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    shared, cases, dropped = rng.integers(6, VOCAB, 200).tolist(), [], 0
    for n in LENGTHS:
        output = []
        while len(output) < 20:
            common = min(n // 2, 200)
            prompt = shared[:common] + rng.integers(6, VOCAB, n - common).tolist()
            output, top5 = greedy(model, prompt)
            dropped += len(output) < 20
        cases.append({"name": f"random-{n}", "prompt_ids": prompt, "output_ids": output, "top5": top5})
    (out / "golden.json").write_text(json.dumps({"made_by": f"make_reference.py, transformers {transformers.__version__}", "eos_token_ids": EOS, "cases": cases}))
    word = cases[6]["prompt_ids"]
    write_safetensors(out / "hidden.safetensors", {"word.input_ids": ("I32", (len(word),), np.array(word, np.int32).tobytes()),
                                                   **{f"word.hidden.{i}": f32(h[0].numpy()) for i, h in enumerate(forward(model, word, True)[1])}})
    outputs = [t for c in cases for t in c["output_ids"]]
    print(f"{out}: {len(cases)} cases, {len(outputs)} tokens, {len(set(outputs))} different, {dropped} prompts dropped", flush=True)


if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("names", nargs="*"); args.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path)
    args = args.parse_args()
    transformers.utils.logging.set_verbosity_error(); transformers.utils.logging.disable_progress_bar(); torch.set_num_threads(1)
    for name in args.names or MODELS: make(name, args.out / name)
