// Has the vision tower encode the images of steps, and keeps what it made: a row for each token that stands for an image.
#pragma once
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "nn/vision.h"
#include "runtime/step.h"

namespace xylem {

class ImageEncoder {
 public:
  struct Limits {
    int patches = 0;  // of one call of the tower; no image has more
    int rows = 0;     // that are kept
  };
  // Memory is the device's: rows that are kept, and what place() fills.
  static size_t kept_bytes(const VisionTower& tower, const Limits& limits);

  ImageEncoder(Device& device, const VisionTower& tower, const Limits& limits, bool round_x);
  bool ok() const { return bool(memory_); }  // false: there was no memory

  // Puts the rows that each image contributes to a step into `to` [R, width], encoding what is not kept from before: the images
  // used longest ago give way. arena: of at least what a dry forward of limits.patches takes. An error is the device's.
  Status place(std::span<const StepImage> images, Tensor to, Stream& stream, void* arena, size_t arena_bytes);
  // The rows of one image, copied to the host: for tests and benchmarks.
  Result<std::vector<float>> encode(const ImagePatches& image, Stream& stream, void* arena, size_t arena_bytes);

  struct Totals {
    uint64_t encoded = 0, found = 0;  // images; found: those of a step's rows that were kept
    double seconds = 0;               // of the tower
  };
  Totals totals() const { return {encoded_, found_, seconds_}; }  // any thread

 private:
  static constexpr int kPageRows = 16;
  struct Entry {
    ContentHash hash;
    std::vector<int> pages;  // of kPageRows rows each
  };
  using Entries = std::list<Entry>;  // the one used last comes first

  Entries::iterator find(const ContentHash& hash);
  std::vector<int> take_pages(size_t n);
  Status encode_and_keep(std::span<const ImagePatches* const> images, Stream& stream, void* arena, size_t arena_bytes);
  Result<Tensor> forward(std::span<const ImagePatches* const> images, Stream& stream, Arena& arena);
  void fill(Tensor t, const void* host) { device_.copy_in(t.data, host, t.bytes()); }
  size_t row_bytes() const { return size_t(tower_.width()) * sizeof(float); }
  std::byte* page(int i) const { return static_cast<std::byte*>(memory_.data()) + size_t(i) * kPageRows * row_bytes(); }

  Device& device_;
  const VisionTower& tower_;
  const Limits limits_;
  const bool round_x_;
  Buffer memory_;
  std::vector<int> free_;
  Entries entries_;
  std::map<ContentHash, Entries::iterator> by_hash_;
  std::atomic<uint64_t> encoded_{0}, found_{0};
  std::atomic<double> seconds_{0};
};

}  // namespace xylem
