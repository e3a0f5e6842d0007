#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "device/op_spec.h"
#include "ops/sample/sample.h"
namespace xylem {
namespace {

void adjust_logits(const Sample& a, const SampleRow& p, float* l, int64_t V) {
  std::map<int32_t, int> counts;
  const int32_t* history = a.token_pool.as<int32_t>() + p.slot * a.token_pool.stride[0];
  for (int32_t i = p.prompt_tokens; i < p.position; i++) counts[history[i]]++;
  for (auto [id, n] : counts) {
    if (id < 0 || id >= V) continue;
    double v = double(l[id]) - double(n) * p.frequency_penalty - p.presence_penalty;
    v = v > 0 ? v / p.repetition_penalty : v * p.repetition_penalty;
    l[id] = float(v);
  }
  for (int32_t i = p.adjust_begin; i < p.adjust_end; i++) l[a.adjust_ids.as<int32_t>()[i]] += a.adjust_add.as()[i];
}

int32_t draw(const SampleRow& p, const std::vector<int32_t>& order, const std::vector<double>& prob) {
  std::vector<int32_t> kept;
  double before = 0, total = 0;
  for (size_t i = 0; i < order.size(); i++) {
    const double q = prob[size_t(order[i])];
    if ((p.top_k > 0 && int64_t(i) >= p.top_k) || before > p.top_p || q < double(p.min_p) * prob[size_t(order[0])]) break;
    kept.push_back(order[i]), before += q, total += q;
  }
  std::sort(kept.begin(), kept.end());
  const double u = sample_uniform(p.seed_lo, p.seed_hi, p.position) * total;
  double sum = 0;
  for (int32_t id : kept)
    if ((sum += prob[size_t(id)]) > u) return id;
  return kept.back();
}

void sample_row(const Sample& a, int64_t r) {
  const SampleRow& p = a.rows.as<const SampleRow>()[r];
  const int64_t V = a.logits.cols();
  float* l = a.logits.row(r);
  int32_t& token = a.tokens.as<int32_t>()[r];
  float& logprob = a.logprobs.as()[r];
  token = -1, logprob = 0;
  for (int i = 0; i < kMaxTopLogprobs; i++) a.top_ids.as<int32_t>()[r * kMaxTopLogprobs + i] = -1, a.top_logprobs.as()[r * kMaxTopLogprobs + i] = 0;
  for (int32_t i = p.chosen_begin; i < p.chosen_end; i++) a.chosen_logprobs.as()[i] = 0;
  if (p.target < 0) adjust_logits(a, p, l, V);
  std::vector<int32_t> order(static_cast<size_t>(V));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = 0; i < V; i++)
    if (std::isnan(l[i])) return;
  std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) { return l[x] > l[y]; });
  const double best = l[order[0]];
  if (!std::isfinite(best)) return;
  const bool greedy = p.temperature < 1e-6f;
  const double t = greedy || p.target >= 0 ? 1.0 : p.temperature;
  std::vector<double> prob(static_cast<size_t>(V));
  double sum = 0;
  for (int64_t i = 0; i < V; i++) sum += prob[size_t(i)] = std::exp((l[i] - best) / t);
  for (double& q : prob) q /= sum;
  token = p.target >= 0 ? p.target : greedy ? order[0] : draw(p, order, prob);
  auto lp = [&](int64_t id) { return float((l[id] - best) / t - std::log(sum)); };
  if (p.want_logprob) logprob = lp(token);
  for (int i = 0; i < std::min<int64_t>(p.top_logprobs, V); i++) {
    a.top_ids.as<int32_t>()[r * kMaxTopLogprobs + i] = order[size_t(i)];
    a.top_logprobs.as()[r * kMaxTopLogprobs + i] = lp(order[size_t(i)]);
  }
  for (int32_t i = p.chosen_begin; i < p.chosen_end; i++) a.chosen_logprobs.as()[i] = lp(a.chosen_ids.as<int32_t>()[i]);
  if (p.target < 0) a.token_pool.as<int32_t>()[p.slot * a.token_pool.stride[0] + p.position] = token;
}

void reference(const Sample& a) {
  for (int64_t r = 0; r < a.logits.rows(); r++) sample_row(a, r);
}

// Parameters of all kinds at once over logits of any spread, often with equal ones; long histories, many adjustments of few tokens.
Case<Sample> mixed_case(unsigned seed) {
  constexpr int64_t R = 3, A = 300, kHistory = 3000;
  const int64_t V = seed % 2 ? 2049 : 12000;
  Sample a{shape({R, V}), shape({R, 80}, DType::kU8), shape({A}, DType::kI32), shape({A}), shape({1}, DType::kI32), shape({R, kHistory}, DType::kI32),
           shape({R}, DType::kI32), shape({R}), shape({R, kMaxTopLogprobs}, DType::kI32), shape({R, kMaxTopLogprobs}), shape({1})};
  return {"mixed " + std::to_string(seed), a, [seed](Sample& a) {
            std::mt19937 rng(seed);
            auto uniform = [&] { return float(rng() % 10000) / 10000; };
            auto below = [&](int64_t n) { return int32_t(rng() % uint32_t(n)); };
            const int64_t V = a.logits.cols(), few = 1 + below(500);
            const float spread = std::pow(10.0f, uniform() * 3 - 1.5f), grain = seed % 2 ? 0 : 0.5f * uniform(), middle = (uniform() - 0.5f) * 40;
            for (int64_t i = 0; i < a.logits.numel(); i++) {
              float& l = a.logits.as()[i];
              l = l * spread + middle;
              if (grain > 0) l = std::round(l / grain) * grain;
              if (below(50) == 0) l = -INFINITY;
            }
            for (int64_t i = 0; i < a.token_pool.numel(); i++) a.token_pool.as<int32_t>()[i] = below(few) * int32_t(V / 500);
            for (int64_t i = 0; i < A; i++) a.adjust_ids.as<int32_t>()[i] = below(few), a.adjust_add.as()[i] = below(4) ? float(below(5) - 2) : -INFINITY;
            a.chosen_ids.as<int32_t>()[0] = 3;
            for (int32_t r = 0; r < R; r++) {
              SampleRow p;
              p.slot = r, p.prompt_tokens = 5, p.position = 5 + below(kHistory - 10), p.seed_lo = rng(), p.seed_hi = rng();
              p.temperature = 0.1f + 2 * uniform(), p.top_logprobs = below(kMaxTopLogprobs + 1), p.want_logprob = 1, p.chosen_end = r == 0;
              if (below(2)) p.top_k = 1 + below(seed % 3 ? 50 : V);
              if (below(3)) p.top_p = uniform();
              if (!below(3)) p.min_p = uniform() * uniform();
              if (below(2)) p.frequency_penalty = uniform() * 0.1f, p.presence_penalty = uniform(), p.repetition_penalty = 0.8f + uniform();
              if (below(2)) p.adjust_begin = below(100), p.adjust_end = 100 + below(A - 100);
              a.rows.as<SampleRow>()[r] = p;
            }
          }};
}

CaseList<Sample> cases() {
  CaseList<Sample> list;
  for (int64_t V : {5, 1000, 5003})
    for (int variant = 0; variant < 4; variant++) {
      constexpr int64_t R = 10, A = 6, C = 4;
      Sample a{shape({R, V}), shape({R, 80}, DType::kU8), shape({A}, DType::kI32), shape({A}), shape({C}, DType::kI32), shape({R, 64}, DType::kI32),
               shape({R}, DType::kI32), shape({R}), shape({R, kMaxTopLogprobs}, DType::kI32), shape({R, kMaxTopLogprobs}), shape({C})};
      list.push_back({std::to_string(V) + " variant " + std::to_string(variant), a, [variant](Sample& a) {
                        std::mt19937 rng(unsigned(variant) + 11);
                        const int64_t V = a.logits.cols();
                        for (int64_t i = 0; i < a.logits.numel(); i++) a.logits.as()[i] *= 3;
                        for (int64_t i = 0; i < a.token_pool.numel(); i++) a.token_pool.as<int32_t>()[i] = int32_t(int64_t(rng()) % std::min<int64_t>(V, 20));
                        for (int64_t i = 0; i < a.adjust_ids.numel(); i++) {
                          a.adjust_ids.as<int32_t>()[i] = int32_t(int64_t(rng()) % V);
                          a.adjust_add.as()[i] = i == 0 ? -INFINITY : float(i) - 2;
                        }
                        for (int64_t i = 0; i < a.chosen_ids.numel(); i++) a.chosen_ids.as<int32_t>()[i] = int32_t(int64_t(rng()) % V);
                        for (int64_t r = 0; r < a.rows.dim[0]; r++) {
                          SampleRow p;
                          p.slot = int32_t(r), p.prompt_tokens = 10, p.position = 10 + int32_t(r * 5);
                          p.seed_lo = rng(), p.seed_hi = rng();
                          p.temperature = r % 3 == 0 ? 0.0f : 0.5f + 0.2f * float(r);
                          if (variant & 1) p.frequency_penalty = 0.3f, p.presence_penalty = -0.2f, p.repetition_penalty = 1.3f;
                          if (r % 2) p.top_k = int32_t(3 + r), p.top_p = 0.9f;
                          if (r % 4 == 1) p.min_p = 0.05f;
                          if (r % 5 == 2) p.top_p = 0.5f;
                          p.want_logprob = variant >= 2, p.top_logprobs = variant >= 2 ? int32_t(2 * r) : 0;
                          if (r == 4) p.adjust_end = 6;
                          if (r == 5) p.chosen_end = 4;
                          if (r == 6) p.target = 2;
                          if (r == 7) a.logits.row(r)[V - 1] = NAN;
                          if (r == 8) for (int64_t i = 0; i < V; i++) a.logits.row(r)[i] = -INFINITY;
                          if (r == 9) p.temperature = 0, a.logits.row(r)[1] = a.logits.row(r)[4] = 50;  // a tie
                          a.rows.as<SampleRow>()[r] = p;
                        }
                        // In place: what the caller may not rely on afterwards is compared as well, so keep it comparable.
                        for (int64_t r : {7, 8}) a.rows.as<SampleRow>()[r].frequency_penalty = 0;
                      }});
    }
  // One long row, shared by threads: a wide spread of logits, a narrow one, and many equal ones around the cut.
  for (float spread : {6.0f, 0.01f, 0.0f})
    for (int filter = 0; filter < 4; filter++) {
      constexpr int64_t V = 20011;
      Sample a{shape({1, V}), shape({1, 80}, DType::kU8), shape({1}, DType::kI32), shape({1}), shape({1}, DType::kI32), shape({1, 64}, DType::kI32),
               shape({1}, DType::kI32), shape({1}), shape({1, kMaxTopLogprobs}, DType::kI32), shape({1, kMaxTopLogprobs}), shape({1})};
      list.push_back({"long row, spread " + std::to_string(spread) + " filter " + std::to_string(filter), a, [spread, filter](Sample& a) {
                        for (int64_t i = 0; i < V; i++) {
                          float& l = a.logits.as()[i];
                          l = spread > 0 ? l * spread : float(i % 3);
                        }
                        a.token_pool.as<int32_t>()[0] = a.adjust_ids.as<int32_t>()[0] = a.chosen_ids.as<int32_t>()[0] = 7;
                        SampleRow p;
                        p.position = 1, p.seed_lo = 5, p.temperature = 1.5f, p.want_logprob = 1, p.top_logprobs = 20, p.chosen_end = 1;
                        if (filter == 1) p.top_k = 700;
                        if (filter == 2) p.top_p = 0.6f;
                        if (filter == 3) p.top_k = 9000, p.top_p = 0.37f, p.min_p = 0.1f;
                        *a.rows.as<SampleRow>() = p;
                      }});
    }
  for (unsigned seed = 1; seed <= 8; seed++) list.push_back(mixed_case(seed));
  return list;
}

void take_reference(const TakeTokens& a) {
  for (int64_t t = 0; t < a.tokens.numel(); t++) {
    const int32_t slot = a.slots.as<int32_t>()[t];
    a.tokens.as<int32_t>()[t] = slot < 0 ? 0 : a.token_pool.as<int32_t>()[slot * a.token_pool.stride[0] + a.positions.as<int32_t>()[t]];
  }
}
CaseList<TakeTokens> take_cases() {
  return {{"5", {shape({4, 9}, DType::kI32), shape({5}, DType::kI32), shape({5}, DType::kI32), shape({5}, DType::kI32)}, [](TakeTokens& a) {
             for (int i = 0; i < 36; i++) a.token_pool.as<int32_t>()[i] = 100 + i;
             const int32_t slots[5] = {0, 3, -1, 1, 1}, positions[5] = {0, 8, 0, 4, 5};
             std::memcpy(a.slots.data, slots, sizeof slots), std::memcpy(a.positions.data, positions, sizeof positions);
           }}};
}

const OpSpec<Sample> spec(reference, cases, 1e-10);
const OpSpec<TakeTokens> take_spec(take_reference, take_cases, 0);
const auto* const ref1 = register_reference<Sample, reference>();
const auto* const ref2 = register_reference<TakeTokens, take_reference>();

}  // namespace
}  // namespace xylem
