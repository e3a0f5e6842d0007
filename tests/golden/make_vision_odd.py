"""Makes tests/golden/gemma4-odd-vision and qwen3.5-odd-vision: random weights and five pictures where the trained checkpoints
leave parts of the formulas without effect; outputs by a numpy implementation in float64.

    python3 make_vision_odd.py NUMPY_REF [FOLDER]        NUMPY_REF: the folder of the reference's gemma4.py, qwen3_5.py and common.py; needs PIL

gemma4-odd-vision   linears whose bounds clip, shift and scale of the pooled patches, heads * head_dim != hidden, patches of 5 x 5, images longer
                    than the window, layer and expert scales, two images side by side, an image first and an image last
qwen3.5-odd-vision  heads of 20, a table of 5 x 5 positions, grids down to 2 patches on a side, patches of so little contrast that LayerNorm's eps
                    counts, unequal sections of M-RoPE, experts in fused tensors, a head of its own"""
import json, pathlib, sys
import numpy as np
from PIL import Image, ImageDraw
from golden_io import encode, f32, write_safetensors

sys.path.insert(0, sys.argv[1])
import common, gemma4, qwen3_5

root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
VOCAB, FIRST_TEXT, MARGIN, LEAST = 400, 22, 0.05, 9  # ids below FIRST_TEXT are special
LENGTHS = [1, 2, 15, 17, 31, 40, 48, 55, 60, 63, 64, 65, 130, 200]
SIZES = [(97, 131), (97, 131), (200, 40), (10, 180), (23, 17)]  # width x height of the pictures
SHARED = dict(do_convert_rgb=True, do_rescale=True, do_resize=True, resample=3, rescale_factor=1 / 255)


class Folder:
    """A checkpoint that is written as it grows."""
    def __init__(self, name, seed, config, processor):
        self.out, self.config, self.rng, self.stored = root / name, config, np.random.default_rng(seed), {}
        self.out.mkdir(exist_ok=True)
        (self.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        (self.out / "preprocessor_config.json").write_text(json.dumps(SHARED | processor, indent=1) + "\n")
    def put(self, name, a, exact=False): self.stored[name] = f32(np.asarray(a)) if exact else ("BF16", np.shape(a), encode(np.asarray(a), "BF16")[0])
    def random(self, name, *shape, std=1.0): self.put(name, std * self.rng.standard_normal(shape))
    def matrix(self, name, *shape, gain=1.0, bias=None, center=0):
        self.random(name + ".weight", *shape, std=gain * np.prod(shape[1:]) ** -0.5)
        if bias is not None: self.put(name + ".bias", center + bias * self.rng.standard_normal(shape[0]))
    def norm(self, name, n, gain=1.0, zero=0, bias=None, **kw):
        self.put(name + ".weight", (1 + 0.3 * self.rng.standard_normal(n)) * gain - zero, **kw)
        if bias is not None: self.random(name + ".bias", n, std=bias)
    def mlp(self, p, hidden, ffn, suffix=""):
        self.matrix(p + "gate_proj" + suffix, ffn, hidden); self.matrix(p + "up_proj" + suffix, ffn, hidden); self.matrix(p + "down_proj" + suffix, hidden, ffn)
    def write(self): write_safetensors(self.out / "model.safetensors", {n: self.stored[n] for n in sorted(self.stored)})
    def pictures(self):
        """Shapes of any colour behind coarse noise."""
        self.images = []
        for i, (w, h) in enumerate(SIZES):
            image = Image.new("RGB", (w, h), tuple(self.rng.integers(0, 256, 3).tolist()))
            for shape in ("ellipse", "rectangle", "ellipse"):
                x, y = np.sort(self.rng.integers(0, w, 2)), np.sort(self.rng.integers(0, h, 2))
                getattr(ImageDraw.Draw(image), shape)([int(x[0]), int(y[0]), int(x[1]), int(y[1])], fill=tuple(self.rng.integers(0, 256, 3).tolist()))
            noise = 24 * self.rng.integers(-3, 4, (h, w, 3))
            Image.fromarray((np.asarray(image).astype(int) + noise).clip(0, 255).astype(np.uint8)).save(self.out / f"image-{i}.png")
            self.images.append(common.pixels(self.out / f"image-{i}.png"))


def gemma():
    t = dict(model_type="gemma4_text", hidden_size=56, vocab_size=VOCAB, num_hidden_layers=4, layer_types=[{"s": "sliding_attention", "f": "full_attention"}[k] for k in "sfsf"],
             hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, attention_bias=False, attention_k_eq_v=True, num_kv_shared_layers=0, use_double_wide_mlp=False,
             hidden_size_per_layer_input=0, use_bidirectional_attention="vision", max_position_embeddings=2048, pad_token_id=0, tie_word_embeddings=True, eos_token_id=[1, 5],
             intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_global_key_value_heads=1, head_dim=16, global_head_dim=48, sliding_window=33,
             enable_moe_block=True, num_experts=5, top_k_experts=3, moe_intermediate_size=20, final_logit_softcapping=30.0,
             rope_parameters=dict(full_attention=dict(rope_type="proportional", partial_rotary_factor=0.5, rope_theta=1e6), sliding_attention=dict(rope_type="default", rope_theta=1e4)))
    v = dict(model_type="gemma4_vision", hidden_size=56, intermediate_size=76, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, head_dim=20, patch_size=5,
             pooling_kernel_size=3, position_embedding_size=107, hidden_activation="gelu_pytorch_tanh", attention_bias=False, rms_norm_eps=0.02, standardize=True, use_clipped_linears=True,
             rope_parameters=dict(rope_type="axial", rope_theta=37.0))
    c = Folder("gemma4-odd-vision", 71, dict(
        architectures=["Gemma4ForConditionalGeneration"], model_type="gemma4", text_config=t, vision_config=v, audio_config=None, tie_word_embeddings=True, eos_token_id=[1, 5],
        boi_token_id=6, image_token_id=7, eoi_token_id=8, boa_token_id=18, audio_token_id=19, eoa_token_index=20, video_token_id=21),
        dict(image_processor_type="Gemma4ImageProcessor", do_normalize=False, image_mean=[0.0] * 3, image_std=[1.0] * 3, max_soft_tokens=70, patch_size=5, pooling_kernel_size=3))
    H, C, E, I, heads = t["hidden_size"], v["hidden_size"], t["num_experts"], t["moe_intermediate_size"], t["num_attention_heads"]
    p = "model.language_model."
    c.random(p + "embed_tokens.weight", VOCAB, H, std=0.15); c.norm(p + "norm", H, gain=6)
    for i, kind in enumerate(t["layer_types"]):
        l, full = f"{p}layers.{i}.", kind == "full_attention"
        d, kv = (t["global_head_dim"], t["num_global_key_value_heads"]) if full else (t["head_dim"], t["num_key_value_heads"])
        for n in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "pre_feedforward_layernorm_2", "post_feedforward_layernorm_1",
                  "post_feedforward_layernorm_2"): c.norm(l + n, H)
        c.put(l + "layer_scalar", c.rng.uniform(0.5, 1.3, 1))
        c.matrix(l + "self_attn.q_proj", heads * d, H); c.matrix(l + "self_attn.k_proj", kv * d, H); c.matrix(l + "self_attn.o_proj", H, heads * d)
        if not full: c.matrix(l + "self_attn.v_proj", kv * d, H)
        for n in "qk": c.norm(l + f"self_attn.{n}_norm", d, gain=0.8)
        c.mlp(l + "mlp.", H, t["intermediate_size"])
        c.matrix(l + "router.proj", E, H, gain=2); c.put(l + "router.scale", 1 + 0.3 * c.rng.standard_normal(H)); c.put(l + "router.per_expert_scale", c.rng.uniform(0.3, 2, E))
        c.random(l + "experts.gate_up_proj", E, 2 * I, H, std=H ** -0.5); c.random(l + "experts.down_proj", E, H, I, std=I ** -0.5)
    p, a = "model.vision_tower.", v["num_attention_heads"] * v["head_dim"]
    c.matrix(p + "patch_embedder.input_proj", C, 3 * v["patch_size"] ** 2); c.random(p + "patch_embedder.position_embedding_table", 2, v["position_embedding_size"], C, std=0.4)
    for i in range(v["num_hidden_layers"]):
        l = f"{p}encoder.layers.{i}."
        for n in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"): c.norm(l + n, C)
        for n in "qkv": c.matrix(l + f"self_attn.{n}_proj.linear", a, C)
        c.matrix(l + "self_attn.o_proj.linear", C, a)
        for n in "qk": c.norm(l + f"self_attn.{n}_norm", v["head_dim"], gain=0.7)
        c.mlp(l + "mlp.", C, v["intermediate_size"], ".linear")
    c.random(p + "std_bias", C, std=3); c.put(p + "std_scale", c.rng.uniform(0.02, 0.4, C)); c.matrix("model.embed_vision.embedding_projection", H, C)
    c.pictures()

    class Bounded(gemma4.Gemma4):
        """Sets the bounds of every linear where they clip 3 to 20 % on either side, as it comes by."""
        def clipped(self, w, name, x):
            if name + ".input_min" not in w:
                def bound(side, x):
                    for end, at in (("min", c.rng.uniform(0.03, 0.2)), ("max", c.rng.uniform(0.8, 0.97))):
                        raw, value = encode(np.quantile(x, at, keepdims=True).ravel(), "BF16")
                        c.stored[f"{w.prefix}{name}.{side}_{end}"], w[f"{name}.{side}_{end}"] = ("BF16", (), raw), value[0]
                bound("input", x)
                bound("output", np.clip(x, w[name + ".input_min"], w[name + ".input_max"]) @ w[name + ".linear.weight"].T)
            return super().clipped(w, name, x)
    c.write()
    ref = Bounded(c.out)
    ref.image_features(*ref.preprocess(c.images[1]))
    c.write()
    ref = gemma4.Gemma4(c.out)
    patches, xy = ref.preprocess(c.images[1])
    pad = lambda x, value: np.concatenate([x, np.full((9 * ref.budget - len(x), x.shape[1]), value, x.dtype)])[None]
    recorded = {"pixel_values": f32(pad(patches, 0)), "image_position_ids": ints(pad(xy, -1)), "image_features": f32(ref.image_features(patches, xy))}
    return c, ref, recorded, ([6], [7], [8])


def qwen():
    t = dict(model_type="qwen3_5_moe_text", hidden_size=52, vocab_size=VOCAB, num_hidden_layers=3, layer_types=["full_attention", "linear_attention", "full_attention"], num_attention_heads=4,
             num_key_value_heads=2, head_dim=40, rms_norm_eps=1e-6, hidden_act="silu", attention_bias=False, max_position_embeddings=1024, eos_token_id=1, pad_token_id=0,
             num_experts=5, num_experts_per_tok=2, moe_intermediate_size=20, shared_expert_intermediate_size=28, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=24,
             linear_value_head_dim=20, linear_conv_kernel_dim=4, tie_word_embeddings=False,
             rope_parameters=dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=0.5, mrope_interleaved=True, mrope_section=[7, 1, 2]))
    v = dict(model_type="qwen3_5_moe", depth=2, hidden_size=60, intermediate_size=76, num_heads=3, in_channels=3, patch_size=6, temporal_patch_size=2, spatial_merge_size=2,
             num_position_embeddings=25, out_hidden_size=52, hidden_act="gelu_pytorch_tanh", rope_parameters=dict(rope_type="axial", rope_theta=500.0))
    side = v["patch_size"] * v["spatial_merge_size"]
    c = Folder("qwen3.5-odd-vision", 72, dict(
        architectures=["Qwen3_5MoeForConditionalGeneration"], model_type="qwen3_5_moe", text_config=t, vision_config=v, tie_word_embeddings=False, vision_start_token_id=3,
        vision_end_token_id=4, image_token_id=7, video_token_id=8),
        dict(image_processor_type="Qwen2VLImageProcessor", do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3, patch_size=v["patch_size"], merge_size=2, temporal_patch_size=2,
             size=dict(shortest_edge=6 * side * side, longest_edge=40 * side * side)))
    H, C, E, I, d = t["hidden_size"], v["hidden_size"], t["num_experts"], t["moe_intermediate_size"], t["head_dim"]
    keys, values, n = t["linear_num_key_heads"] * t["linear_key_head_dim"], t["linear_num_value_heads"] * t["linear_value_head_dim"], t["linear_num_value_heads"]
    p = "model.language_model."
    c.random(p + "embed_tokens.weight", VOCAB, H); c.norm(p + "norm", H, zero=1); c.matrix("lm_head", VOCAB, H, gain=5)
    for i, kind in enumerate(t["layer_types"]):
        l, m = f"{p}layers.{i}.", f"{p}layers.{i}.mlp."
        for name in ("input_layernorm", "post_attention_layernorm"): c.norm(l + name, H, zero=1)
        if kind == "full_attention":
            a, q, kv = l + "self_attn.", t["num_attention_heads"] * d, t["num_key_value_heads"] * d
            c.matrix(a + "q_proj", 2 * q, H); c.matrix(a + "k_proj", kv, H); c.matrix(a + "v_proj", kv, H); c.matrix(a + "o_proj", H, q)
            c.norm(a + "q_norm", d, gain=2, zero=1); c.norm(a + "k_norm", d, zero=1)
        else:
            a = l + "linear_attn."
            c.matrix(a + "in_proj_qkv", 2 * keys + values, H); c.matrix(a + "in_proj_z", values, H); c.matrix(a + "in_proj_a", n, H); c.matrix(a + "in_proj_b", n, H)
            c.random(a + "conv1d.weight", 2 * keys + values, 1, t["linear_conv_kernel_dim"], std=0.7); c.put(a + "dt_bias", c.rng.standard_normal(n) - 1)
            c.put(a + "A_log", np.log(c.rng.uniform(0.01, 4, n)), exact=True); c.norm(a + "norm", t["linear_value_head_dim"], exact=True); c.matrix(a + "out_proj", H, values)
        c.matrix(m + "gate", E, H, gain=2); c.matrix(m + "shared_expert_gate", 1, H); c.mlp(m + "shared_expert.", H, t["shared_expert_intermediate_size"])
        c.random(m + "experts.gate_up_proj", E, 2 * I, H, std=H ** -0.5); c.random(m + "experts.down_proj", E, H, I, std=I ** -0.5)
    tell_gelus = dict(gain=0.5, bias=0.2, center=-2.2)  # where the exact one and the one by tanh differ most
    p, M = "model.visual.", C * v["spatial_merge_size"] ** 2
    c.matrix(p + "patch_embed.proj", C, 3, v["temporal_patch_size"], v["patch_size"], v["patch_size"], gain=2e-3, bias=5e-4); c.random(p + "pos_embed.weight", v["num_position_embeddings"], C, std=1e-3)
    for i in range(v["depth"]):
        b = f"{p}blocks.{i}."
        c.norm(b + "norm1", C, bias=0.3); c.norm(b + "norm2", C, bias=0.3)
        c.matrix(b + "attn.qkv", 3 * C, C, gain=1.5, bias=0.3); c.matrix(b + "attn.proj", C, C, bias=0.3)
        c.matrix(b + "mlp.linear_fc1", v["intermediate_size"], C, **tell_gelus); c.matrix(b + "mlp.linear_fc2", C, v["intermediate_size"], gain=20, bias=0.3)
    c.norm(p + "merger.norm", C, bias=0.3); c.matrix(p + "merger.linear_fc1", M, M, **tell_gelus); c.matrix(p + "merger.linear_fc2", H, M, gain=30, bias=0.3)
    c.pictures()
    c.write()
    ref = qwen3_5.Qwen35(c.out)
    patches, grid = ref.preprocess(c.images[1])
    recorded = {"pixel_values": f32(patches), "image_grid_thw": ints([[1, *grid]]), "image_features": f32(ref.image_features(patches, grid))}
    return c, ref, recorded, ([3], [7], [4])


def ints(a): return "I32", np.shape(a), np.asarray(a, "<i4").tobytes()


def greedy(ref, prompt, images, eos, limit):
    """Ends before the first token whose margin is too small to ask for it, and before special ones."""
    ids, output, top5 = list(prompt), [], []
    while len(output) < limit and not (output and output[-1] in eos):
        z = ref.forward(np.array(ids), images)[1][-1]
        lp = z - z.max(); lp = lp - np.log(np.exp(lp).sum())
        best = np.argsort(-lp, kind="stable")[:5]
        if lp[best[0]] - lp[best[1]] < MARGIN or (best[0] < FIRST_TEXT and best[0] not in eos): break
        output.append(int(best[0])); ids.append(output[-1]); top5.append([[int(b), round(float(lp[b]), 5)] for b in best])
    return output, top5


def make(c, ref, recorded, around, eos):
    rng, cases = np.random.default_rng(73), []
    shared = rng.integers(FIRST_TEXT, VOCAB, 200).tolist()
    text = lambda n: rng.integers(FIRST_TEXT, VOCAB, n).tolist()
    def tokens(i):
        x = ref.preprocess(c.images[i])[0]
        return around[0] + around[1] * (len(x) // (9 if isinstance(ref, gemma4.Gemma4) else 4)) + around[2]
    def add(names, layout):
        """layout: text of n tokens (n < 0: of the shared ones) or the picture "i"; "?": one case with picture 0 and one with picture 1."""
        while True:
            shown = [p for p in layout if isinstance(p, str)]
            prompt = sum((tokens(0 if p == "?" else int(p)) if isinstance(p, str) else shared[:-p] if p < 0 else text(p) for p in layout), [])
            made = []
            for k, name in enumerate(names):
                files = [k if p == "?" else int(p) for p in shown]
                output, top5 = greedy(ref, prompt, [c.images[f] for f in files], eos, 16 if files else 36)
                made.append({"name": name, **({"images": [f"image-{f}.png" for f in files]} if files else {}), "prompt_ids": prompt, "output_ids": output, "top5": top5})
            if all(len(m["output_ids"]) >= (LEAST if shown else 2 * LEAST) for m in made) and len({tuple(m["output_ids"]) for m in made}) == len(made): break
        cases.extend(made)
        print(names, len(prompt), [m["output_ids"] for m in made], flush=True)
    for n in LENGTHS: add([f"random-{n}"], [-(n // 2), n - n // 2] if n > 1 else [n])
    add(["image-0", "image-1"], [7, "?", 22])
    add(["image-2"], [-60, "2", 40])
    add(["image-3"], ["3", 19])
    add(["image-4"], [16, "4"])
    add(["adjacent-images"], [-21, "0", "2", 18])
    add(["same-image-twice"], [5, "1", 30, "1", 9])
    add(["three-images"], [-12, "3", 3, "4", "2", 33])

    (c.out / "golden.json").write_text(json.dumps({"made_by": "make_vision_odd.py", "eos_token_ids": eos, "cases": cases}))
    word, first = (next(m["prompt_ids"] for m in cases if m["name"] == name) for name in ("random-40", "image-1"))
    recorded |= {"input_ids": ints(first)}
    write_safetensors(c.out / "hidden.safetensors", {"word.input_ids": ints(word), **{f"word.hidden.{i}": f32(h) for i, h in enumerate(ref.forward(np.array(word))[0])},
                                                     **{"image-1." + n: a for n, a in recorded.items()}})
    common.report_unused(ref.w)
    print(c.out, sum(len(m["output_ids"]) for m in cases), "tokens", flush=True)


make(*gemma(), [1, 5])
make(*qwen(), [1, 2])
