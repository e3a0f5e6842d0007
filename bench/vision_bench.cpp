// A vision tower with random weights and pixels on one image: time by operation, and its matrix products (projections and attention)
// against the arithmetic roof of the CPU, probed before and after; on an OpenCL device all operations against the roof of its memory.
// Figures are of the fastest of some runs.
//   vision_bench [--tower gemma4-e2b|gemma4-31b|qwen3.5-4b] [--size HEIGHTxWIDTH] [--tokens BUDGET] [--device cpu|opencl:N] [--threads N]
//                [--isa NAME] [--dtype bfloat16|float32] [--repeats N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "base/clock.h"
#include "device/cpu/roof.h"
#include "models/vision_towers.h"
#include "nn/tower_alone.h"
#include "nn/vision_blocks.h"
#include "opencl_bench.h"
#include "runtime/choose_device.h"
#include "runtime/image_encoder.h"
#include "weights/loader.h"

namespace xylem {
namespace {

struct Options {
  std::string tower = "gemma4-e2b", device = "cpu", isa = "auto", dtype = "bfloat16";
  int height = 896, width = 896, tokens = 280, threads = 2, repeats = 3;
};

constexpr const char* kGemmaE2b = R"({"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "num_attention_heads": 12, "head_dim": 64,
  "use_clipped_linears": true, "position_embedding_size": 10240})";
constexpr const char* kGemma31b = R"({"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "head_dim": 72,
  "standardize": true, "position_embedding_size": 10240})";
constexpr const char* kQwen4b = R"({"hidden_size": 1024, "intermediate_size": 4096, "depth": 24, "num_heads": 16, "out_hidden_size": 2560})";

std::unique_ptr<VisionTower> make_tower(const Options& o) {
  const auto config = [](const char* text) { return Config(nlohmann::json::parse(text)); };
  if (o.tower == "gemma4-e2b") return make_gemma4_tower(config(kGemmaE2b), 1536);
  if (o.tower == "gemma4-31b") return make_gemma4_tower(config(kGemma31b), 5376);
  if (o.tower == "qwen3.5-4b") return make_qwen3_5_tower(config(kQwen4b));
  std::fprintf(stderr, "unknown --tower %s\n", o.tower.c_str());
  std::exit(2);
}

// The grid that the family's rule gives: Gemma fills its budget of tokens (specs/gemma4.md 8.1), Qwen keeps the size (qwen3_5.md 7.2).
ImagePatches random_image(const VisionTower& tower, const Options& o) {
  const int side = 16 * tower.cell();
  double f = 1;
  if (tower.cell() == 3) f = std::sqrt(double(o.tokens) * side * side / (double(o.height) * o.width));
  ImagePatches p;
  p.cell = tower.cell();
  p.grid_h = std::max(1, int(f * o.height / side)) * p.cell, p.grid_w = std::max(1, int(f * o.width / side)) * p.cell;
  p.pixels.resize(size_t(p.patches()) * size_t(tower.patch_numbers()));
  std::mt19937 rng(1);
  for (float& v : p.pixels) v = float(rng() % 256) / 255.0f;
  return p;
}

double flops(const Launch& l, int patches) {
  if (l.op == std::string("matmul")) {
    const auto& a = *reinterpret_cast<const MatMul*>(l.args);
    return 2.0 * double(a.x.rows()) * double(a.x.cols()) * double(a.w.dim[0]);
  }
  if (l.op != std::string("segment_attention")) return 0;
  const auto& a = *reinterpret_cast<const SegmentAttention*>(l.args);
  return 4.0 * patches * patches * double(a.q.dim[1] * a.q.dim[2]);
}

// Of its tensors, each read or written once.
double bytes(const Launch& l) {
  double sum = 0;
  l.tensors(l, [&](const Tensor& t) { sum += double(t.numel()) * double(dtype_bytes(t.dtype)); });
  return sum;
}

double read_gbs(OpenClDevice& d) {
  constexpr size_t kBytes = size_t(1) << 30;
  Buffer memory(d, kBytes);
  if (!memory) return 0;
  MemoryRoof roof(d);
  return double(kBytes) * 1e-9 / chain_seconds(d, [&] { roof.read(memory.data(), kBytes, memory.data()); });
}

struct Share { double seconds = 1e30, flops = 0, bytes = 0; int calls = 0; };

int run(const Options& o) {
  const auto isa = parse_isa(o.isa);
  CHECK(isa.ok(), o.isa);
  auto chosen = choose_device(o.device);
  if (!chosen.ok()) return std::fprintf(stderr, "%s\n", chosen.error().text.c_str()), 1;
  CpuDevice host(o.threads, *isa);
  Device& device = chosen->device ? *chosen->device : host;
  TowerAlone model(make_tower(o));
  LoadOptions load;
  load.dummy = true, load.progress = false;
  const auto weights = load_weights("", model, host, load, chosen->device.get());
  if (!weights.ok()) return std::fprintf(stderr, "%s\n", weights.error().text.c_str()), 1;
  const VisionTower& tower = *model.vision();
  const auto image = std::make_shared<const ImagePatches>(random_image(tower, o));
  const bool round_x = o.dtype == "bfloat16";
  Stream stream(device);
  const ImageEncoder::Limits limits{image->patches(), image->tokens(), ImageEncoder::dry_arena_bytes(device, tower, image->patches(), round_x, nullptr)};
  ImageEncoder encoder(stream, tower, limits, round_x);
  CHECK(encoder.ok(), limits.arena_bytes);
  std::printf("%s, %s, %s, %d threads: image %d x %d -> %d x %d patches, %d tokens; temporaries %.1f MiB\n", o.tower.c_str(), chosen->device ? chosen->name.c_str() : isa_name(host.isa()),
              o.dtype.c_str(), o.threads, o.height, o.width, image->grid_h, image->grid_w, image->tokens(), double(limits.arena_bytes) / (1 << 20));

  Roof roof(host);
  const auto peak = [&] { return round_x ? std::max(roof.bf16_gflops(), roof.f32_gflops()) : roof.f32_gflops(); };  // some CPUs are slower in bf16
  const double before = chosen->device ? 0 : peak();
  Plan plan;
  stream.begin_capture(&plan);
  CHECK(encoder.encode(image).ok());
  stream.end_capture();
  double best = 1e30;
  for (int i = 0; i < o.repeats; i++) {
    const double t0 = now_seconds();
    CHECK(encoder.encode(image).ok());
    best = std::min(best, now_seconds() - t0);
  }
  std::map<std::string, Share> shares;
  for (int i = 0; i < o.repeats; i++) {
    std::map<std::string, Share> once;
    for (const Launch& l : plan) {
      const double t0 = now_seconds();
      l.thunk(l, device);
      CHECK(device.sync().ok());
      Share& s = once[std::string(l.op) + ":" + l.kernel];
      s.seconds = (s.calls++ ? s.seconds : 0) + now_seconds() - t0, s.flops += flops(l, image->patches()), s.bytes += bytes(l);
    }
    for (const auto& [name, s] : once)
      if (s.seconds < shares[name].seconds) shares[name] = s;
  }
  double products = 0, seconds = 0;
  for (const auto& [name, s] : shares) {
    std::printf("  %-32s %5d calls %8.1f ms %8.1f GB/s", name.c_str(), s.calls, s.seconds * 1e3, s.bytes / s.seconds * 1e-9);
    if (s.flops > 0) std::printf(" %8.1f GFLOP/s", s.flops / s.seconds * 1e-9), products += s.flops, seconds += s.seconds;
    std::printf("\n");
  }
  std::printf("image: %.3f s; %.1f GFLOP of products: %.1f GFLOP/s in them, %.1f over all\n", best, products * 1e-9, products / seconds * 1e-9, products / best * 1e-9);
  if (chosen->device) return std::printf("roof: reading memory %.1f GB/s\n", read_gbs(gpu(device))), 0;
  const double after = peak();
  std::printf("roof: %.1f, %.1f GFLOP/s before and after: %.1f %% in products, %.1f %% over all\n", before, after, products / seconds * 2e-7 / (before + after), products / best * 2e-7 / (before + after));
  return 0;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  xylem::Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--tower") o.tower = value;
    else if (name == "--device") o.device = value;
    else if (name == "--isa") o.isa = value;
    else if (name == "--dtype") o.dtype = value;
    else if (name == "--tokens") o.tokens = std::atoi(value.c_str());
    else if (name == "--threads") o.threads = std::atoi(value.c_str());
    else if (name == "--repeats") o.repeats = std::atoi(value.c_str());
    else if (name != "--size" || std::sscanf(value.c_str(), "%dx%d", &o.height, &o.width) != 2) return std::fprintf(stderr, "unknown option %s\n", argv[i]), 2;
  }
  if (argc % 2 == 0 || o.threads < 1 || o.repeats < 1 || o.tokens < 1 || o.height < 1 || o.width < 1) return std::fprintf(stderr, "usage: see the top of vision_bench.cpp\n"), 2;
  return xylem::run(o);
}
