// Cases of ops that keep a state: rows of a step with states to read and to write. For tests of ops only.
#pragma once
#include <string>
#include <vector>

#include "device/op_spec.h"
#include "ops/state_cache.h"

namespace xylem {

struct StateShape {
  const char* label;
  std::vector<int> count, len;  // of each row: tokens in the step, tokens in all
  std::vector<int> kept;        // block ends inside the first row whose states are kept, as block numbers
  int block = 16;
  int64_t tokens() const {
    int64_t n = 0;
    for (int c : count) n += c;
    return n;
  }
};

inline const std::vector<StateShape>& state_shapes() {
  static const std::vector<StateShape> v = {
      {"one token", {1}, {1}, {}},
      {"decode", {1, 1, 1}, {5, 16, 33}, {}},
      {"prefill", {150}, {150}, {}},
      {"prefill of a chunk", {64}, {64}, {}},
      {"chunk of a prompt", {37}, {101}, {}},
      {"states kept inside", {90}, {140}, {4, 7}},
      {"mixed", {1, 40, 2, 70, 3}, {17, 40, 50, 134, 3}, {}, 32},
      {"kept and mixed", {130, 1, 5}, {194, 64, 5}, {1, 2}, 64},
  };
  return v;
}

// Tensors of the right shapes for a state of `floats`; fill_state() gives them their meaning.
inline StateCache make_state(const StateShape& s, int64_t floats) {
  int64_t most = 1;
  for (int n : s.len) most = std::max<int64_t>(most, (n + s.block - 1) / s.block);
  const int64_t B = int64_t(s.len.size());
  StateCache c;
  c.pool = shape({2 * B + int64_t(s.kept.size()) + 1, 2 * floats});
  c.offset = floats, c.block_tokens = s.block;  // the second of two layers
  c.state_in = shape({B}, DType::kI32), c.table = shape({B, most}, DType::kI32), c.cu_q = shape({B + 1}, DType::kI32), c.kv_len = shape({B}, DType::kI32);
  return c;
}
// Every other continued row updates its state in place, the others read one block and write another.
inline void fill_state(const StateShape& s, StateCache& c) {
  int32_t next = int32_t(c.pool.dim[0]), token = 0;
  std::fill_n(c.table.as<int32_t>(), c.table.numel(), -1);
  for (size_t b = 0; b < s.len.size(); b++) {
    int32_t* table = c.table.as<int32_t>() + int64_t(b) * c.table.dim[1];
    c.cu_q.as<int32_t>()[b] = token, token += s.count[b], c.kv_len.as<int32_t>()[b] = s.len[b];
    const bool fresh = s.len[b] == s.count[b];
    const int32_t in = fresh ? -1 : --next;
    c.state_in.as<int32_t>()[b] = in;
    table[(s.len[b] - 1) / s.block] = !fresh && b % 2 == 0 ? in : --next;
    if (b == 0)
      for (int i : s.kept) table[i] = --next;
  }
  c.cu_q.as<int32_t>()[s.len.size()] = token;
  CHECK(next >= 0, next);
}

}  // namespace xylem
