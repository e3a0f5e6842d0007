#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/model_path.h"
#include "cli/model_summary.h"
#include "cli/setup.h"

namespace xylem {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out;
  for (int64_t d : shape) out += (out.empty() ? "[" : ", ") + std::to_string(d);
  return out + "]";
}

const char* kind_text(Param::Kind kind) {
  switch (kind) {
    case Param::Kind::kVector: return "vector";
    case Param::Kind::kMatrix: return "matrix";
    case Param::Kind::kTable: return "table";
    case Param::Kind::kExperts: return "experts";
    case Param::Kind::kHeads: return "heads";
    case Param::Kind::kConstant: return "constant";
    case Param::Kind::kTied: return "tied";
  }
  return "?";
}

void print_cache(const ModelSummary& s) {
  fmt::print("cache\n");
  for (const CacheGroup& g : s.model->caches().groups()) {
    const std::string kept = g.window_tokens == 0 ? "all tokens" : g.window_tokens < 0 ? "one state" : fmt::format("the last {} tokens", g.window_tokens);
    const double bytes = double(g.layers) * double(g.window_tokens < 0 ? g.bytes_per_state : g.bytes_per_token);
    fmt::print("  {:>3} layer(s) keep {:<24} {} a {}\n", g.layers, kept, format_bytes(bytes), g.window_tokens < 0 ? "sequence" : "token");
  }
  for (int64_t tokens : {int64_t(2048), int64_t(32768), s.model->max_context()})
    if (tokens <= s.model->max_context()) fmt::print("  a sequence of {:>7} tokens  {}\n", tokens, format_bytes(s.cache_bytes(tokens)));
}

}  // namespace

Status inspect(InspectOptions o) {
  setup_log("warning");
  TRY(const std::string folder, model_or_demo(o.model));
  TRY(const ModelSummary s, summarize_model(folder, o.dtype == "float32" ? 4 : 2));
  const CheckpointSummary& c = s.checkpoint;
  fmt::print("model          {}\n", s.folder);
  fmt::print("architecture   {}\n", s.architecture);
  fmt::print("vocabulary     {}\n", s.model->vocab_size());
  fmt::print("context        {} tokens\n", s.model->max_context());
  fmt::print("parameters     {} ({:.2f} M)\n", c.parameters, double(c.parameters) / 1e6);
  if (s.experts > 0) fmt::print("experts        {}, {} for each token\n", s.experts, s.experts_per_token);
  fmt::print("weights        {} in memory, {} read from the file when needed{}\n", format_bytes(double(c.weight_bytes)),
             format_bytes(double(c.mapped_bytes)), c.has_weights ? "" : " (as they would be: no weights here)");
  fmt::print("read per step  {} of weights for one token\n", format_bytes(s.step_bytes(1)));
  for (const auto& [name, count] : c.dtypes) fmt::print("files          {} tensors of {}, {}\n", count.tensors, name, format_bytes(double(count.bytes)));
  for (const auto& [name, count] : c.groups) fmt::print("part           {}: {} tensors, {}\n", name, count.tensors, format_bytes(double(count.bytes)));
  print_cache(s);
  if (o.tensors)
    for (const Param& p : s.params) fmt::print("{:<9} {:<22} {}\n", kind_text(p.kind), shape_text(p.shape), p.name);
  return {};
}

}  // namespace xylem
