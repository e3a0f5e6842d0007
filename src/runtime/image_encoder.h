// Has the vision tower encode images, a layer at a time, and keeps what it made: a row for each token that stands for an image.
#pragma once
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <optional>
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
    size_t arena_bytes = 0;  // for the tower's temporaries
  };
  // Of the device's memory, temporaries aside.
  static size_t kept_bytes(const VisionTower& tower, const Limits& limits);
  // What the tower takes for so many patches: runs it on shapes alone. notes: may be null.
  static size_t dry_arena_bytes(Device& device, const VisionTower& tower, int64_t patches, bool round_x, DryNotes* notes);

  ImageEncoder(Stream& stream, const VisionTower& tower, const Limits& limits, bool round_x);
  bool ok() const { return memory_ && arena_memory_; }  // false: there was no memory

  // One thread at a time, all of these. Errors are the device's.
  // Works on those of the images whose rows are not there, for so long or a layer more. True when all are, or as many of the first ones
  // as can be kept together. An encoding under way of other images is given up.
  Result<bool> advance(const ImageList& images, double seconds);
  // Puts the rows that each image contributes to a step into `to` [R, width]; what is not there is encoded first.
  Status place(std::span<const StepImage> images, Tensor to);
  // The rows of an image on the host, encoded anew.
  Result<std::vector<float>> encode(std::shared_ptr<const ImagePatches> image);

  struct Totals {
    uint64_t encoded = 0, found = 0;  // images; found: those of a new list for advance() whose rows were there
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
  struct Job {                       // images that go through the tower together
    ImageList images;
    Encoding encoding;
    int layer = 0;                   // the next one
  };

  Entries::iterator find(const ContentHash& hash);
  std::vector<int> take_pages(size_t n);
  void forget_all();
  ImageList missing(const ImageList& images);
  void begin(ImageList images);
  Status step();
  void keep(Tensor rows);
  Ctx ctx() { return {stream_, none_, {}, arena_, 0, round_x_}; }
  void fill(Tensor t, const void* host) { device().copy_in(t.data, host, t.bytes()); }
  Device& device() { return stream_.device(); }
  size_t row_bytes() const { return size_t(tower_.width()) * sizeof(float); }
  std::byte* page(int i) const { return static_cast<std::byte*>(memory_.data()) + size_t(i) * kPageRows * row_bytes(); }

  Stream& stream_;
  const VisionTower& tower_;
  const Limits limits_;
  const bool round_x_;
  const Batch none_;
  Buffer memory_, arena_memory_;
  Arena arena_;
  std::optional<Job> job_;
  std::vector<std::weak_ptr<const ImagePatches>> asked_;  // of the last advance()
  Tensor rows_;                      // of the job that ended last, in the arena
  std::vector<int> free_;
  Entries entries_;
  std::map<ContentHash, Entries::iterator> by_hash_;
  std::atomic<uint64_t> encoded_{0}, found_{0};
  std::atomic<double> seconds_{0};
};

}  // namespace xylem
