#include "runtime/image_encoder.h"

#include <algorithm>

#include "base/clock.h"

namespace xylem {
namespace {

int pages_of(int rows, int page_rows) { return (rows + page_rows - 1) / page_rows; }

}  // namespace

size_t ImageEncoder::kept_bytes(const VisionTower& tower, const Limits& limits) {
  return size_t(pages_of(limits.rows, kPageRows)) * kPageRows * size_t(tower.width()) * sizeof(float);
}

ImageEncoder::ImageEncoder(Device& device, const VisionTower& tower, const Limits& limits, bool round_x)
    : device_(device), tower_(tower), limits_(limits), round_x_(round_x), memory_(device, kept_bytes(tower, limits)) {
  CHECK(limits.patches <= limits.rows * tower.cell() * tower.cell(), limits.patches, limits.rows);
  for (int i = pages_of(limits.rows, kPageRows); i-- > 0;) free_.push_back(i);
}

Status ImageEncoder::place(std::span<const StepImage> images, Tensor to, Stream& stream, void* arena, size_t arena_bytes) {
  for (size_t i = 0; i < images.size(); i++) {
    const StepImage& image = images[i];
    auto entry = find(image.patches->hash);
    if (entry == entries_.end()) {
      // This one, and what follows and is missing too, as far as one call takes it.
      std::vector<const ImagePatches*> batch;
      int patches = 0;
      for (const StepImage& next : images.subspan(i)) {
        const ImagePatches* p = next.patches.get();
        if (find(p->hash) != entries_.end() || std::any_of(batch.begin(), batch.end(), [&](auto* b) { return b->hash == p->hash; })) continue;
        if (patches + p->patches() > limits_.patches) break;
        batch.push_back(p), patches += p->patches();
      }
      CHECK(!batch.empty(), image.patches->patches(), limits_.patches);
      TRY_VOID(encode_and_keep(batch, stream, arena, arena_bytes));
      entry = find(image.patches->hash);
      CHECK(entry != entries_.end());
    } else {
      found_++;
    }
    CHECK(image.row + image.count <= to.dim[0] && to.contiguous() && image.first + image.count <= image.patches->tokens(), image.row, image.count, to.dim[0]);
    for (int row = 0; row < image.count;) {
      const int from = image.first + row, n = std::min(image.count - row, kPageRows - from % kPageRows);
      device_.copy(to.row(image.row + row), page(entry->pages[size_t(from / kPageRows)]) + size_t(from % kPageRows) * row_bytes(), size_t(n) * row_bytes());
      row += n;
    }
  }
  return {};
}

ImageEncoder::Entries::iterator ImageEncoder::find(const ContentHash& hash) {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return entries_.end();
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second;
}

std::vector<int> ImageEncoder::take_pages(size_t n) {
  while (free_.size() < n) {
    CHECK(!entries_.empty(), n, free_.size());
    free_.insert(free_.end(), entries_.back().pages.begin(), entries_.back().pages.end());
    by_hash_.erase(entries_.back().hash);
    entries_.pop_back();
  }
  std::vector<int> pages(free_.end() - std::ptrdiff_t(n), free_.end());
  free_.resize(free_.size() - n);
  return pages;
}

// The images together have at most limits_.patches patches, so that all of them can be kept at the same time.
Status ImageEncoder::encode_and_keep(std::span<const ImagePatches* const> images, Stream& stream, void* memory, size_t bytes) {
  Arena arena(memory, bytes);
  TRY(const Tensor rows, forward(images, stream, arena));
  int64_t row = 0;
  for (const ImagePatches* image : images) {
    const int n = image->tokens();
    std::vector<int> pages = take_pages(size_t(pages_of(n, kPageRows)));
    for (int at = 0; at < n; at += kPageRows) device_.copy(page(pages[size_t(at / kPageRows)]), rows.row(row + at), size_t(std::min(kPageRows, n - at)) * row_bytes());
    row += n;
    entries_.push_front({image->hash, std::move(pages)});
    by_hash_[image->hash] = entries_.begin();
  }
  return {};
}

Result<std::vector<float>> ImageEncoder::encode(const ImagePatches& image, Stream& stream, void* memory, size_t bytes) {
  Arena arena(memory, bytes);
  const ImagePatches* one[] = {&image};
  TRY(const Tensor rows, forward(one, stream, arena));
  std::vector<float> out(size_t(rows.numel()));
  device_.copy_out(out.data(), rows.data, rows.bytes());
  return out;
}

Result<Tensor> ImageEncoder::forward(std::span<const ImagePatches* const> images, Stream& stream, Arena& arena) {
  const double t0 = now_seconds();
  int N = 0;
  std::vector<int32_t> cu{0};
  for (const ImagePatches* image : images) cu.push_back(N += image->patches());
  CHECK(N <= limits_.patches, N, limits_.patches);
  const Batch none;
  Ctx c{stream, none, {}, arena, 0, round_x_};
  const int64_t numbers = tower_.patch_numbers(), taps = tower_.taps();
  const ImageBatch b{c.temp({N, numbers}), c.temp({2, N}, DType::kI32), c.temp({N, taps}, DType::kI32), c.temp({N, taps}), c.temp({int64_t(cu.size())}, DType::kI32)};
  std::vector<float> patches(size_t(N * numbers)), weights(size_t(N * taps));
  std::vector<int32_t> positions(size_t(2 * N)), ids(size_t(N * taps));
  int first = 0;
  for (const ImagePatches* image : images) {
    CHECK(int64_t(image->pixels.size()) == image->patches() * numbers, image->pixels.size(), image->patches(), numbers);
    tower_.fill_patches(*image, patches.data() + first * numbers);
    tower_.fill_taps(*image, ids.data() + first * taps, weights.data() + first * taps);
    for (int i = 0; i < image->patches(); i++) positions[size_t(first + i)] = image->at(i).row, positions[size_t(N + first + i)] = image->at(i).col;
    first += image->patches();
  }
  fill(b.patches, patches.data()), fill(b.positions, positions.data()), fill(b.tap_ids, ids.data()), fill(b.tap_weights, weights.data()), fill(b.cu, cu.data());
  const Tensor rows = tower_.forward(c, b);
  TRY_VOID(device_.sync());
  encoded_ += images.size();
  seconds_ = seconds_ + (now_seconds() - t0);
  return rows;
}

}  // namespace xylem
