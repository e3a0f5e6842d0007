"""What the scripts that make golden folders share."""
import json, struct
import numpy as np


def write_safetensors(path, tensors):
    """tensors: name -> (dtype as the format spells it, shape, bytes)"""
    head, blob = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(blob), len(blob) + len(raw)]}
        blob += raw
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def encode(a, dtype):
    """Bytes in the stored type, "F16" or "BF16" (rounded to nearest even), and the values they stand for."""
    if dtype == "F16":
        h = a.astype("<f2")
        return h.tobytes(), h.astype(np.float64)
    u = a.astype(np.float32).view(np.uint32)
    u = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return u.tobytes(), (u.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def f32(a):
    """An entry of write_safetensors."""
    return "F32", a.shape, np.ascontiguousarray(a, np.float32).tobytes()
