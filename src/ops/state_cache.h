// One layer's recurrent states, and which of them a row of a step reads and writes. Shared by the ops that keep a state.
#pragma once
#include "device/op.h"
namespace xylem {

// Row b of a step holds tokens [cu_q[b], cu_q[b + 1]), the last ones of the kv_len[b] tokens of its sequence. It continues from
// the state in block state_in[b] (-1: a new sequence, all zeros). The state after its last token goes to block
// table[b][(kv_len - 1) / block_tokens], which may be state_in itself; besides, wherever table[b][i] is a block (not -1) and
// (i + 1) * block_tokens lies strictly inside the row, the state after token (i + 1) * block_tokens - 1 goes there.
struct StateCache {
  Tensor pool;             // [blocks, floats of a block] f32
  int64_t offset = 0;      // floats from the start of a block to this layer's slice
  int block_tokens = 0;
  Tensor state_in;         // [B] i32
  Tensor table;            // [B, max_blocks] i32
  Tensor cu_q, kv_len;     // [B + 1], [B] i32

  float* at(int64_t block) const { return pool.as() + block * pool.stride[0] + offset; }
  int64_t rows() const { return kv_len.numel(); }
  int64_t first_token(int64_t b) const { return cu_q.as<int32_t>()[b]; }
  int64_t tokens(int64_t b) const { return cu_q.as<int32_t>()[b + 1] - cu_q.as<int32_t>()[b]; }
  int64_t begin(int64_t b) const { return kv_len.as<int32_t>()[b] - tokens(b); }       // position of its first token
  const float* in(int64_t b) const {                                                  // null: zeros
    const int32_t block = state_in.as<int32_t>()[b];
    return block < 0 ? nullptr : at(block);
  }
  // The state after the tokens before position `end` (begin < end <= kv_len); null when it is not kept.
  float* out(int64_t b, int64_t end) const {
    if (end % block_tokens && end != kv_len.as<int32_t>()[b]) return nullptr;
    const int32_t block = table.as<int32_t>()[b * table.stride[0] + (end - 1) / block_tokens];
    return block < 0 ? nullptr : at(block);
  }
  // The first position after `from` whose state is kept: at the latest the row's end.
  int64_t next_kept(int64_t b, int64_t from) const {
    const int64_t end = kv_len.as<int32_t>()[b];
    for (int64_t p = (from / block_tokens + 1) * block_tokens; p < end; p += block_tokens)
      if (out(b, p)) return p;
    return end;
  }
};

}  // namespace xylem
