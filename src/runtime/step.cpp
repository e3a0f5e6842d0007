#include "runtime/step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace xylem {

StepSlab::StepSlab(Device& device, const StepLimits& limits, const CacheLayout& layout, const StepSlab* other) : device_(device), block_tokens_(limits.block_tokens) {
  const int64_t T = limits.tokens, B = limits.rows, R = limits.logit_rows, M = limits.max_blocks();
  std::vector<Tensor*> all;
  auto want = [&](Tensor& t, std::initializer_list<int64_t> dims, DType type = DType::kI32) {
    t = shape(dims, type);
    all.push_back(&t);
  };
  Whole& w = whole_;
  want(w.tokens, {T}), want(w.token_slots, {T}), want(w.positions, {T}), want(w.cu_q, {B + 1}), want(w.kv_len, {B}), want(w.logit_rows, {R});
  want(w.tail_positions, {R}), want(w.tail_cu_q, {R + 1}), want(w.tail_kv_len, {R});
  want(w.sample_rows, {R, int64_t(sizeof(SampleRow))}, DType::kU8);
  want(w.adjust_ids, {B * kMaxAdjustments}), want(w.adjust_add, {B * kMaxAdjustments}, DType::kF32), want(w.chosen_ids, {R * kMaxChosen});
  if (limits.rope_axes > 1) want(w.rope_positions, {limits.rope_axes, T});
  if (limits.image_patches > 0) want(w.image_rows, {T});
  if (limits.whole_images) want(w.limits, {T});
  const size_t groups = layout.groups().size();
  w.slots.resize(groups), w.table.resize(groups), w.tail_table.resize(groups), w.state_in.resize(groups);
  for (size_t g = 0; g < groups; g++) {
    want(w.table[g], {B, M});
    if (layout.groups()[g].is_state()) want(w.state_in[g], {B});
    else want(w.slots[g], {T}), want(w.tail_table[g], {R, M});
  }
  const size_t inputs = all.size();
  want(w.out_tokens, {R}), want(w.out_logprobs, {R}, DType::kF32), want(w.out_chosen, {R * kMaxChosen}, DType::kF32);
  want(w.out_top_ids, {R, kMaxTopLogprobs}), want(w.out_top_logprobs, {R, kMaxTopLogprobs}, DType::kF32);
  size_t bytes = 0;
  for (size_t i = 0; i < all.size(); i++) {
    if (i == inputs) outputs_ = bytes;
    bytes += (all[i]->bytes() + 63) / 64 * 64;
  }
  const bool mirrored = !device.host_memory();
  memory_ = other && mirrored ? other->memory_ : std::make_shared<DeviceSlab>();
  const bool first = !memory_->memory;
  if (first) memory_->memory = Buffer(device, bytes);
  CHECK(memory_->memory && memory_->memory.bytes() == bytes, bytes);
  if (mirrored) mirror_.resize(bytes);
  host_ = mirrored ? mirror_.data() : static_cast<std::byte*>(memory_->memory.data());
  if (mirrored) mirrored_results_ = device.host_bytes(bytes - outputs_);
  results_ = mirrored ? mirrored_results_.get() : host_ + outputs_;
  CHECK(results_, bytes - outputs_);
  std::byte* p = host_;
  for (Tensor* t : all) t->data = p, p += (t->bytes() + 63) / 64 * 64;
  batch.groups.resize(groups), tail.groups.resize(groups);
}

// Bytes that the device does not have yet, in runs: a copy costs about as much as some kilobytes of it.
void StepSlab::send(const Tensor& t, int64_t first, int64_t count) {
  if (!t.rank || count <= 0) return;
  constexpr size_t kLine = 64, kGap = 2048;
  std::vector<std::byte>& sent = memory_->sent;
  const size_t begin = size_t(on_host(t.data) - host_) + size_t(first) * dtype_bytes(t.dtype), end = begin + size_t(count) * dtype_bytes(t.dtype);
  size_t from = end, to = end;  // of the run so far
  const auto flush = [&] {
    if (from >= to) return;
    device_.copy_in(static_cast<std::byte*>(memory_->memory.data()) + from, host_ + from, to - from, /*wait=*/false);
    std::memcpy(sent.data() + from, host_ + from, to - from);
  };
  for (size_t at = begin; at < end; at += kLine) {
    const size_t n = std::min(kLine, end - at);
    if (std::memcmp(sent.data() + at, host_ + at, n) == 0) continue;
    if (from < to && at - to > kGap) flush(), from = end;
    if (from == end) from = at;
    to = at + n;
  }
  flush();
}

// Of each row's table, the blocks that its tokens lie in.
void StepSlab::send_tables(const Batch& b, const Tensor& kv_len) {
  const auto* lengths = reinterpret_cast<const int32_t*>(on_host(kv_len.data));
  for (const Batch::Group& g : b.groups) {
    send(g.slots, 0, g.slots.numel()), send(g.state_in, 0, g.state_in.numel());
    for (int64_t row = 0; g.table.rank && row < g.table.dim[0]; row++)
      send(g.table, row * g.table.stride[0], std::min<int64_t>(g.table.dim[1], (lengths[row] + block_tokens_ - 1) / block_tokens_));
  }
}

void StepSlab::to_device() {
  if (mirror_.empty()) return;
  if (memory_->sent.empty()) {
    memory_->sent = mirror_;
    device_.copy_in(memory_->memory.data(), mirror_.data(), mirror_.size());
  }
  const auto send_all = [&](const Tensor& t) { send(t, 0, t.rank ? t.numel() : 0); };
  const auto send_batch = [&](const Batch& b) {
    for (const Tensor* t : {&b.positions, &b.rope_positions, &b.image_rows, &b.limits, &b.cu_q, &b.kv_len, &b.logit_rows}) send_all(*t);
    send_tables(b, b.kv_len);
  };
  send_all(take.slots);
  send_batch(batch);
  if (batch.logits_only == &tail) send_batch(tail);
  for (const Tensor* t : {&sample.rows, &sample.adjust_ids, &sample.adjust_add, &sample.chosen_ids}) send_all(*t);
}

void StepSlab::to_host() {
  if (mirror_.empty()) return;
  const auto fetch = [&](const Tensor& t) {
    if (t.numel()) device_.copy_out(on_host(t.data), t.data, t.bytes(), /*wait=*/false);
  };
  fetch(sample.tokens);
  const std::span rows(result.rows.as<const SampleRow>(), logit_rows.size());
  if (std::none_of(rows.begin(), rows.end(), [](const SampleRow& r) { return r.want_logprob || r.chosen_end > r.chosen_begin; })) return;
  for (const Tensor* t : {&sample.logprobs, &sample.top_ids, &sample.top_logprobs, &sample.chosen_logprobs}) fetch(*t);
}

void BatchBuilder::copy_table(const Request& r, size_t group, int begin, int end, int32_t* out) const {
  // Only the blocks that a query at `begin` or later can see.
  const int B = limits_.block_tokens, window = groups_[group].window_tokens;
  const int first = window > 0 ? std::max(0, begin - window + 1) / B : 0, last = (end + B - 1) / B;
  const std::span<const BlockId> ids = r.tables[group].ids();
  CHECK(last <= int(ids.size()) && last <= limits_.max_blocks(), last, ids.size());
  std::copy(ids.begin() + first, ids.begin() + last, out + first);
}

// The row sees the blocks that it writes alone: a snapshot exactly at its begin is complete.
void BatchBuilder::fill_state(const Row& row, const Request& r, size_t group, int b, StepSlab& s) {
  const int B = limits_.block_tokens, end = row.begin + row.count, first = row.begin / B;
  const BlockTable& t = r.tables[group];
  CHECK(t.size() == (end - 1) / B + 1 && t.size() <= limits_.max_blocks(), t.size(), end);
  int32_t* out = s.whole_.table[group].as<int32_t>() + b * limits_.max_blocks();
  std::fill_n(out, limits_.max_blocks(), kHole);
  std::copy(t.ids().begin() + first, t.ids().end(), out + first);
  s.whole_.state_in[group].as<int32_t>()[b] = t.state_in(row.begin, end, B);
}

void BatchBuilder::fill_row(const Row& row, const Request& r, int b, int first_token, StepSlab& s) {
  if (slot_owner_[size_t(row.slot)] != row.id) {  // newly in this slot: its known tokens move in
    s.device_.copy_in(token_pool_.as<int32_t>() + row.slot * token_pool_.stride[0], r.tokens.data(), r.tokens.size() * sizeof(TokenId));
    slot_owner_[size_t(row.slot)] = row.id;
  }
  auto& w = s.whole_;
  for (int i = 0; i < row.count; i++) {
    w.token_slots.as<int32_t>()[first_token + i] = row.slot;
    w.positions.as<int32_t>()[first_token + i] = row.begin + i;
  }
  const int end = row.begin + row.count, B = limits_.block_tokens;
  w.cu_q.as<int32_t>()[b] = first_token;
  w.kv_len.as<int32_t>()[b] = end;
  for (size_t g = 0; g < groups_.size(); g++) {
    if (groups_[g].is_state()) {
      fill_state(row, r, g, b, s);
      continue;
    }
    copy_table(r, g, row.begin, end, w.table[g].as<int32_t>() + b * limits_.max_blocks());
    const std::span<const BlockId> ids = r.tables[g].ids();
    for (int i = 0; i < row.count; i++) {
      const int pos = row.begin + i;
      w.slots[g].as<int32_t>()[first_token + i] = ids[size_t(pos / B)] * B + pos % B;
    }
  }
  if (row.logits_from < 0) return;
  for (int pos = row.logits_from; pos < end; pos++) {
    const bool sample = row.sample && pos == end - 1;
    w.logit_rows.as<int32_t>()[s.logit_rows.size()] = first_token + pos - row.begin;
    s.logit_rows.push_back({b, pos, sample});
  }
}

// Of the tokens of a row that stand for images.
void BatchBuilder::fill_images(const Row& row, const std::vector<ImageInput>& images, int first_token, StepSlab& s) {
  auto& w = s.whole_;
  const int end = row.begin + row.count;
  for (const ImageInput& image : images) {
    const int first = std::max(row.begin, image.first_token), last = std::min(end, image.first_token + image.patches->tokens());
    if (first >= last) continue;
    const int at = s.images.empty() ? 0 : s.images.back().row + s.images.back().count;
    s.images.push_back({image.patches, first - image.first_token, last - first, at});
    for (int pos = first; pos < last; pos++) {
      const int t = first_token + pos - row.begin;
      w.image_rows.as<int32_t>()[t] = at + pos - first;
      if (limits_.whole_images) w.limits.as<int32_t>()[t] = image.first_token + image.patches->tokens();
    }
    CHECK(!limits_.whole_images || last - first == image.patches->tokens(), row.begin, row.count, image.first_token);
  }
}

// Positions of tokens on the axes time, row and column: an image takes as many as its longer side has cells (specs/qwen3_5.md 6.3).
void BatchBuilder::fill_rope_positions(const Row& row, const std::vector<ImageInput>& images, int first_token, int tokens, StepSlab& s) {
  int32_t* const time = s.whole_.rope_positions.as<int32_t>() + first_token;
  int32_t *const y = time + tokens, *const x = y + tokens;
  int pos = row.begin, shift = 0;  // of positions against indices, from the images before
  const int end = row.begin + row.count;
  const auto text = [&](int until) {
    for (; pos < std::min(until, end); pos++) time[pos - row.begin] = y[pos - row.begin] = x[pos - row.begin] = pos + shift;
  };
  for (const ImageInput& image : images) {
    const ImagePatches& p = *image.patches;
    const int first = image.first_token, last = first + p.tokens(), start = first + shift;
    text(first);
    for (; pos < std::min(last, end); pos++) {
      const int i = pos - first;
      time[pos - row.begin] = start, y[pos - row.begin] = start + i / p.cells_w(), x[pos - row.begin] = start + i % p.cells_w();
    }
    shift += std::max(p.cells_h(), p.cells_w()) - p.tokens();
  }
  text(end);
}

void BatchBuilder::fill_tail(const Scheduler& sched, StepSlab& s) {
  auto& w = s.whole_;
  const int64_t R = int64_t(s.logit_rows.size());
  for (int64_t i = 0; i < R; i++) {
    const LogitRow& l = s.logit_rows[size_t(i)];
    w.tail_positions.as<int32_t>()[i] = l.position;
    w.tail_cu_q.as<int32_t>()[i] = int32_t(i);
    w.tail_kv_len.as<int32_t>()[i] = l.position + 1;
    const Request& r = sched.request(s.plan.rows[size_t(l.row)].id);
    for (size_t g = 0; g < groups_.size(); g++)
      if (!groups_[g].is_state()) copy_table(r, g, l.position, l.position + 1, w.tail_table[g].as<int32_t>() + i * limits_.max_blocks());
  }
  w.tail_cu_q.as<int32_t>()[R] = int32_t(R);
  s.tail.positions = s.view(w.tail_positions, {R});
  s.tail.cu_q = s.view(w.tail_cu_q, {R + 1}), s.tail.kv_len = s.view(w.tail_kv_len, {R}), s.tail.logit_rows = s.batch.logit_rows;
  for (size_t g = 0; g < groups_.size(); g++)
    if (!groups_[g].is_state()) s.tail.groups[g].table = s.view(w.tail_table[g], {R, limits_.max_blocks()});
}

void BatchBuilder::fill_sampling(const Scheduler& sched, const std::function<const GenerateRequest&(RequestId)>& request, StepSlab& s) {
  auto& w = s.whole_;
  int32_t adjust = 0, chosen = 0;
  auto add = [&](TokenId id, float value) {
    w.adjust_ids.as<int32_t>()[adjust] = id, w.adjust_add.as()[adjust] = value, adjust++;
  };
  for (size_t i = 0; i < s.logit_rows.size(); i++) {
    const LogitRow& l = s.logit_rows[i];
    const Row& row = s.plan.rows[size_t(l.row)];
    const Request& r = sched.request(row.id);
    const GenerateRequest& g = request(row.id);
    const SamplingParams& sp = g.sampling;
    SampleRow p;
    p.slot = row.slot, p.prompt_tokens = r.prompt_tokens, p.position = l.position + 1;
    p.temperature = sp.temperature, p.top_p = sp.top_p, p.min_p = sp.min_p, p.top_k = sp.top_k;
    p.frequency_penalty = sp.frequency_penalty, p.presence_penalty = sp.presence_penalty, p.repetition_penalty = sp.repetition_penalty;
    p.seed_lo = uint32_t(sp.seed), p.seed_hi = uint32_t(sp.seed >> 32);
    p.top_logprobs = std::min(g.top_logprobs, kMaxTopLogprobs);
    p.want_logprob = g.logprobs || g.top_logprobs > 0 || !l.sample;
    p.adjust_begin = adjust;
    if (l.sample) {
      for (const auto& [id, value] : sp.logit_bias) add(id, value);
      if (p.position - p.prompt_tokens < g.min_new_tokens)
        for (TokenId id : g.stop_ids) add(id, -INFINITY);
    } else {
      p.target = r.tokens[size_t(l.position) + 1];
    }
    p.adjust_end = adjust;
    p.chosen_begin = chosen;
    for (TokenId id : g.logprob_ids) w.chosen_ids.as<int32_t>()[chosen++] = id;
    p.chosen_end = chosen;
    w.sample_rows.as<SampleRow>()[i] = p;
  }
  const int64_t R = int64_t(s.logit_rows.size());
  s.sample = {{}, s.view(w.sample_rows, {R, int64_t(sizeof(SampleRow))}), s.view(w.adjust_ids, {adjust}), s.view(w.adjust_add, {adjust}), s.view(w.chosen_ids, {chosen}),
              token_pool_, s.view(w.out_tokens, {R}), s.view(w.out_logprobs, {R}), s.view(w.out_top_ids, {R, kMaxTopLogprobs}),
              s.view(w.out_top_logprobs, {R, kMaxTopLogprobs}), s.view(w.out_chosen, {chosen})};
  s.result = s.sample;
  for (Tensor* t : {&s.result.rows, &s.result.adjust_ids, &s.result.adjust_add, &s.result.chosen_ids, &s.result.tokens, &s.result.logprobs, &s.result.top_ids,
                    &s.result.top_logprobs, &s.result.chosen_logprobs})
    t->data = s.on_host(t->data);
}

void BatchBuilder::build(const StepPlan& plan, const Scheduler& sched, const std::function<const GenerateRequest&(RequestId)>& request, StepSlab& s) {
  auto& w = s.whole_;
  s.plan = plan;
  s.logit_rows.clear(), s.images.clear();
  int all = 0;
  for (const Row& row : plan.rows) all += row.count;
  CHECK(all <= limits_.tokens && int64_t(plan.rows.size()) <= limits_.rows, all, plan.rows.size());
  if (limits_.image_patches > 0) std::fill_n(w.image_rows.as<int32_t>(), all, -1);
  int T = 0;
  for (size_t b = 0; b < plan.rows.size(); b++) {
    const Row& row = plan.rows[b];
    fill_row(row, sched.request(row.id), int(b), T, s);
    if (limits_.whole_images)
      for (int i = 0; i < row.count; i++) w.limits.as<int32_t>()[T + i] = row.begin + i + 1;
    if (limits_.image_patches > 0) fill_images(row, request(row.id).images, T, s);
    if (limits_.rope_axes > 1) fill_rope_positions(row, request(row.id).images, T, all, s);
    T += row.count;
  }
  const int64_t B = int64_t(plan.rows.size()), R = int64_t(s.logit_rows.size());
  CHECK(R <= limits_.logit_rows, R);
  w.cu_q.as<int32_t>()[B] = T;
  s.batch.tokens = s.view(w.tokens, {T}), s.batch.positions = s.view(w.positions, {T});
  s.batch.cu_q = s.view(w.cu_q, {B + 1}), s.batch.kv_len = s.view(w.kv_len, {B}), s.batch.logit_rows = s.view(w.logit_rows, {R});
  s.batch.rope_positions = limits_.rope_axes > 1 ? s.view(w.rope_positions, {limits_.rope_axes, T}) : Tensor{};
  s.batch.image_rows = s.images.empty() ? Tensor{} : s.view(w.image_rows, {T});
  s.batch.limits = s.images.empty() || !limits_.whole_images ? Tensor{} : s.view(w.limits, {T});
  for (size_t g = 0; g < groups_.size(); g++) {
    Batch::Group& group = s.batch.groups[g];
    group.table = s.view(w.table[g], {B, limits_.max_blocks()});
    if (groups_[g].is_state()) group.state_in = s.view(w.state_in[g], {B});
    else group.slots = s.view(w.slots[g], {T});
  }
  s.take = {token_pool_, s.view(w.token_slots, {T}), s.batch.positions, s.batch.tokens};
  const bool all_wanted = R == T && B == T;  // plain decode: the batch is its own tail
  s.batch.logits_only = all_wanted ? &s.batch : &s.tail;
  if (!all_wanted) fill_tail(sched, s);
  fill_sampling(sched, request, s);
}

}  // namespace xylem
