"""Makes the pictures of this folder, and expected.json: their pixels as Pillow's convert("RGB") gives them, and what torch's
bicubic resize makes of noise. Needs numpy and Pillow (made with 1.24 and 9.4); run it in any folder, it writes beside itself.

The files are small and cover every branch of a decoder: kinds of PNG that Pillow does not write are put together by hand."""
import base64, io, json, pathlib, struct, zlib
import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
W, H = 13, 9


def noise(w, h, seed):
    """[h, w, 3]; vision's tests draw the same numbers."""
    x, out = seed, np.empty(w * h * 3, np.uint8)
    for i in range(out.size):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = x >> 24
    return out.reshape(h, w, 3)


def smooth(w, h):
    y, x = np.mgrid[:h, :w]
    return np.stack([x * 255 // (w - 1), y * 255 // (h - 1), (x + y) * 255 // (w + h - 2)], -1).astype(np.uint8)


# ---------------------------------------------------------------- PNG by hand

ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(samples, bits):
    """[h, w, channels] -> filtered bytes (filter 0)."""
    out = b""
    for row in samples:
        flat = row.reshape(-1)
        if bits == 16: line = flat.astype(">u2").tobytes()
        elif bits == 8: line = flat.astype(np.uint8).tobytes()
        else: line = np.packbits(((flat[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)).tobytes()
        out += b"\0" + line
    return out


def png(samples, bits, colour, interlaced=False, extra=b""):
    h, w = samples.shape[:2]
    if interlaced:
        passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7]
        data = b"".join(pack_rows(p, bits) for p in passes if p.size)
    else: data = pack_rows(samples, bits)
    head = struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def pngs():
    rgb, a = noise(W, H, 1), noise(W, H, 2)[..., :1]
    grey = lambda bits: noise(W, H, 3)[..., :1].astype(int) >> max(8 - bits, 0)
    deep = (noise(W, H, 4).astype(int) << 8) | noise(W, H, 5)
    palette = noise(16, 1, 6).tobytes()
    return {
        "grey1.png": png(grey(1), 1, 0), "grey2.png": png(grey(2), 2, 0), "grey4.png": png(grey(4), 4, 0, True), "grey8.png": png(grey(8), 8, 0),
        "grey8-trns.png": png(grey(8), 8, 0, extra=chunk(b"tRNS", struct.pack(">H", 7))),
        "grey16.png": png(deep[..., :1], 16, 0), "grey-alpha8.png": png(np.concatenate([grey(8), a], -1), 8, 4), "grey-alpha16.png": png(deep[..., :2], 16, 4),
        "palette1.png": png(grey(1), 1, 3, extra=chunk(b"PLTE", palette[:6])), "palette4.png": png(grey(4), 4, 3, True, chunk(b"PLTE", palette)),
        "palette8-trns.png": png(grey(8) % 16, 8, 3, extra=chunk(b"PLTE", palette) + chunk(b"tRNS", bytes(range(0, 160, 16)))),
        "rgb8.png": png(rgb, 8, 2), "rgb8-interlaced.png": png(rgb, 8, 2, True), "rgb8-trns.png": png(rgb, 8, 2, extra=chunk(b"tRNS", bytes(6))),
        "rgb8-gamma.png": png(rgb, 8, 2, extra=chunk(b"gAMA", struct.pack(">I", 22000))), "rgb16.png": png(deep, 16, 2),
        "rgba8.png": png(np.concatenate([rgb, a], -1), 8, 6), "rgba16-interlaced.png": png(np.concatenate([deep, deep[..., :1]], -1), 16, 6, True),
    }


# ---------------------------------------------------------------- JPEG and WebP

def saved(array, mode, kind, **options):
    out = io.BytesIO(); Image.fromarray(array, mode).save(out, kind, **options); return out.getvalue()


def adobe(jpeg, transform):
    """The file with an Adobe marker that says how its components are to be understood, instead of what it said."""
    out, i = jpeg[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]), 2
    while jpeg[i + 1] in (0xE0, 0xEE): i += 2 + int.from_bytes(jpeg[i + 2:i + 4], "big")
    return out + jpeg[i:]


def jpegs():
    rgb, ink = smooth(W, H), np.concatenate([smooth(W, H), noise(W, H, 7)[..., :1] // 4], -1)
    cmyk = saved(ink, "CMYK", "JPEG", quality=90)
    return {
        "grey.jpg": saved(rgb[..., 0].copy(), "L", "JPEG"), "rgb-444.jpg": saved(rgb, "RGB", "JPEG", subsampling=0), "rgb-420.jpg": saved(rgb, "RGB", "JPEG", subsampling=2),
        "progressive.jpg": saved(rgb, "RGB", "JPEG", progressive=True), "untransformed.jpg": adobe(saved(rgb, "RGB", "JPEG", subsampling=0), 0),
        "cmyk.jpg": cmyk, "ycck.jpg": adobe(cmyk, 2),
    }


def riff_chunk(name, data): return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
def riff(chunks): return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks
def u24(v): return struct.pack("<I", v)[:3]


def webps():
    rgb, alpha = smooth(W, H), noise(W, H, 8)[..., :1]
    rgba = np.concatenate([noise(W, H, 9), alpha], -1)
    frames = [Image.fromarray(smooth(W, H)), Image.fromarray(noise(W, H, 10))]
    moving = io.BytesIO(); frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    part = saved(noise(5, 4, 11), "RGB", "WEBP", lossless=True)[12:]
    anmf = u24(3) + u24(1) + u24(4) + u24(3) + u24(100) + b"\0" + part                       # offsets are halved
    offset = riff(riff_chunk(b"VP8X", b"\x02\0\0\0" + u24(W - 1) + u24(H - 1)) + riff_chunk(b"ANIM", b"\xff\xff\xff\xff\0\0") + riff_chunk(b"ANMF", anmf))
    return {
        "lossy.webp": saved(rgb, "RGB", "WEBP", quality=80), "lossless.webp": saved(rgb, "RGB", "WEBP", lossless=True),
        "lossless-alpha.webp": saved(rgba, "RGBA", "WEBP", lossless=True, exact=True),
        "lossy-alpha.webp": saved(np.concatenate([rgb, alpha // 2 + 100], -1), "RGBA", "WEBP", quality=70),
        "moving.webp": moving.getvalue(), "moving-offset.webp": offset,
    }


def pixels(name, data):
    # Pillow clips 16-bit greys to white; here they keep their upper half, as all other samples of 16 bits do there.
    if name == "grey16.png": return np.repeat(noise(W, H, 4)[..., :1], 3, -1)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# ---------------------------------------------------------------- resize

def keys(x):
    x = np.abs(x); return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0.0))


def resize_axis(a, n):
    m = a.shape[-1]; scale = m / n; stretch = max(scale, 1.0); taps = []
    for i in range(n):
        c = scale * (i + 0.5); lo, hi = max(int(c - 2 * stretch + 0.5), 0), min(int(c + 2 * stretch + 0.5), m)
        w = keys((np.arange(lo, hi) - c + 0.5) / stretch); taps.append((lo, w / w.sum()))
    top = max(w.max() for _, w in taps); bits = 0
    while bits < 22 and int(0.5 + top * (1 << (bits + 1))) < 1 << 15: bits += 1
    out = np.empty(a.shape[:-1] + (n,), np.int64)
    for i, (lo, w) in enumerate(taps):
        q = np.trunc(w * (1 << bits) + np.where(w < 0, -0.5, 0.5)).astype(np.int64)
        out[..., i] = ((1 << (bits - 1)) + a[..., lo:lo + len(q)] @ q) >> bits
    return out.clip(0, 255)


def resize(a, w, h):
    """torch.nn.functional.interpolate(uint8, mode="bicubic", antialias=True) on the CPU, in whole numbers."""
    x = a.astype(np.int64).transpose(2, 0, 1)
    if w != a.shape[1]: x = resize_axis(x, w)
    if h != a.shape[0]: x = resize_axis(x.transpose(0, 2, 1), h).transpose(0, 2, 1)
    return x.transpose(1, 2, 0).astype(np.uint8)


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data: h = ((h ^ b) * 0x100000001b3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


SIZES = [(13, 9, 13, 9), (13, 9, 5, 7), (13, 9, 29, 31), (13, 9, 13, 4), (13, 9, 40, 9), (13, 9, 1, 1), (1, 1, 7, 3), (2, 3, 48, 48), (97, 61, 31, 60), (200, 3, 7, 96),
         (640, 37, 64, 48), (37, 640, 48, 64), (101, 103, 100, 104), (300, 200, 299, 201), (1500, 2, 3, 3), (64, 64, 32, 32), (50, 70, 96, 48), (33, 47, 224, 352)]


def main():
    expected = {"images": {}, "resize": []}
    for name, data in {**pngs(), **jpegs(), **webps()}.items():
        (HERE / name).write_bytes(data)
        a = pixels(name, data)
        expected["images"][name] = {"width": a.shape[1], "height": a.shape[0], "rgb": base64.b64encode(a.tobytes()).decode()}
    for i, (w, h, to_w, to_h) in enumerate(SIZES):
        expected["resize"].append({"size": [w, h], "seed": 100 + i, "to": [to_w, to_h], "fnv": fnv(resize(noise(w, h, 100 + i), to_w, to_h).tobytes())})
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in expected["images"].items()]
    sizes = [f"  {json.dumps(r)}" for r in expected["resize"]]
    (HERE / "expected.json").write_text('{"images": {\n' + ",\n".join(lines) + '\n},\n"resize": [\n' + ",\n".join(sizes) + "\n]}\n")


main()
