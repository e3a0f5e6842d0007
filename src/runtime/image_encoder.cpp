#include "runtime/image_encoder.h"

#include <algorithm>
#include <set>

#include "base/clock.h"

namespace xylem {
namespace {

int pages_of(int rows, int page_rows) { return (rows + page_rows - 1) / page_rows; }

ImageBatch make_batch(Ctx& c, const VisionTower& tower, int64_t patches, int64_t images) {
  return {c.temp({patches, tower.patch_numbers()}), c.temp({2, patches}, DType::kI32), c.temp({patches, tower.taps()}, DType::kI32), c.temp({patches, tower.taps()}),
          c.temp({images + 1}, DType::kI32)};
}

}  // namespace

size_t ImageEncoder::kept_bytes(const VisionTower& tower, const Limits& limits) {
  return size_t(pages_of(limits.rows, kPageRows)) * kPageRows * size_t(tower.width()) * sizeof(float);
}

size_t ImageEncoder::dry_arena_bytes(Device& device, const VisionTower& tower, int64_t patches, bool round_x, DryNotes* notes) {
  Stream stream(device);
  const Batch none;
  Arena arena;
  Ctx c{stream, none, {}, arena, 0, round_x, /*dry=*/true, nullptr, notes};
  const int64_t cell = int64_t(tower.cell()) * tower.cell();
  const Encoding e = tower.begin(c, make_batch(c, tower, patches, patches / cell));
  for (int i = 0; i < tower.layers(); i++) tower.layer(c, e, i);
  tower.finish(c, e);
  return arena.peak() + 4096;
}

ImageEncoder::ImageEncoder(Stream& stream, const VisionTower& tower, const Limits& limits, bool round_x)
    : stream_(stream), tower_(tower), limits_(limits), round_x_(round_x), memory_(stream.device(), kept_bytes(tower, limits)),
      arena_memory_(stream.device(), limits.arena_bytes), arena_(arena_memory_.data(), arena_memory_.bytes()) {
  CHECK(limits.patches <= limits.rows * tower.cell() * tower.cell(), limits.patches, limits.rows);
  forget_all();
}

void ImageEncoder::forget_all() {
  job_.reset(), entries_.clear(), by_hash_.clear(), free_.clear();
  for (int i = pages_of(limits_.rows, kPageRows); i-- > 0;) free_.push_back(i);
}

ImageEncoder::Entries::iterator ImageEncoder::find(const ContentHash& hash) {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return entries_.end();
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second;
}

// Those that are not kept, each once, as far as one call of the tower takes them; of the first ones, as many as can be kept together.
ImageList ImageEncoder::missing(const ImageList& images) {
  ImageList list;
  std::set<ContentHash> seen;
  int patches = 0, pages = 0;
  for (const auto& image : images) {
    if (!seen.insert(image->hash).second) continue;
    pages += pages_of(image->tokens(), kPageRows);
    if (pages > pages_of(limits_.rows, kPageRows)) break;
    if (find(image->hash) != entries_.end()) continue;
    CHECK(image->patches() <= limits_.patches, image->patches(), limits_.patches);
    if (patches + image->patches() > limits_.patches) break;
    list.push_back(image), patches += image->patches();
  }
  return list;
}

Result<bool> ImageEncoder::advance(const ImageList& images, double seconds) {
  const double begun = now_seconds();
  const auto is_same = [](const std::weak_ptr<const ImagePatches>& a, const auto& b) { return !a.owner_before(b) && !b.owner_before(a); };
  if (!std::equal(asked_.begin(), asked_.end(), images.begin(), images.end(), is_same)) {
    asked_.assign(images.begin(), images.end());
    for (const auto& image : images) found_ += find(image->hash) != entries_.end();
  }
  const auto wanted = [&](const auto& of_job) { return std::any_of(images.begin(), images.end(), [&](const auto& image) { return image->hash == of_job->hash; }); };
  if (job_ && !std::all_of(job_->images.begin(), job_->images.end(), wanted)) job_.reset();
  while (true) {
    if (!job_) {
      ImageList todo = missing(images);
      if (todo.empty()) return true;
      begin(std::move(todo));
    }
    TRY_VOID(step());
    if (!job_ && missing(images).empty()) return true;
    if (now_seconds() - begun >= seconds) return false;
  }
}

Status ImageEncoder::place(std::span<const StepImage> images, Tensor to) {
  ImageList all;
  for (const StepImage& image : images) all.push_back(image.patches);
  for (size_t i = 0; i < images.size(); i++) {
    const StepImage& image = images[i];
    auto entry = find(image.patches->hash);
    if (entry == entries_.end()) {  // its rows have given way to others': with it come those that follow and are missing too
      job_.reset();
      begin(missing({all.begin() + std::ptrdiff_t(i), all.end()}));
      while (job_) TRY_VOID(step());
      entry = find(image.patches->hash);
    }
    CHECK(entry != entries_.end() && to.contiguous(), i);
    CHECK(image.row + image.count <= to.dim[0] && image.first + image.count <= image.patches->tokens(), image.row, image.count, to.dim[0]);
    for (int row = 0; row < image.count;) {
      const int from = image.first + row, n = std::min(image.count - row, kPageRows - from % kPageRows);
      device().copy(to.row(image.row + row), page(entry->pages[size_t(from / kPageRows)]) + size_t(from % kPageRows) * row_bytes(), size_t(n) * row_bytes());
      row += n;
    }
  }
  return {};
}

Result<std::vector<float>> ImageEncoder::encode(std::shared_ptr<const ImagePatches> image) {
  job_.reset();
  begin({std::move(image)});
  while (job_) TRY_VOID(step());
  std::vector<float> out(size_t(rows_.numel()));
  device().copy_out(out.data(), rows_.data, rows_.bytes());
  return out;
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

// All of the job's images can be kept at the same time, as there are rows for more than one call's patches.
void ImageEncoder::keep(Tensor rows) {
  int64_t row = 0;
  for (const auto& image : job_->images) {
    const int n = image->tokens();
    if (const auto old = find(image->hash); old != entries_.end()) {  // encoded anew
      free_.insert(free_.end(), old->pages.begin(), old->pages.end());
      by_hash_.erase(image->hash), entries_.erase(old);
    }
    std::vector<int> pages = take_pages(size_t(pages_of(n, kPageRows)));
    for (int at = 0; at < n; at += kPageRows) device().copy(page(pages[size_t(at / kPageRows)]), rows.row(row + at), size_t(std::min(kPageRows, n - at)) * row_bytes());
    row += n;
    entries_.push_front({image->hash, std::move(pages)});
    by_hash_[image->hash] = entries_.begin();
  }
}

void ImageEncoder::begin(ImageList images) {
  const double t0 = now_seconds();
  arena_.reset(0);
  int N = 0;
  std::vector<int32_t> cu{0};
  for (const auto& image : images) cu.push_back(N += image->patches());
  CHECK(N <= limits_.patches, N, limits_.patches);
  Ctx c = ctx();
  const ImageBatch b = make_batch(c, tower_, N, int64_t(images.size()));
  const int64_t numbers = tower_.patch_numbers(), taps = tower_.taps();
  std::vector<float> patches(size_t(N * numbers)), weights(size_t(N * taps));
  std::vector<int32_t> positions(size_t(2 * N)), ids(size_t(N * taps));
  int first = 0;
  for (const auto& image : images) {
    CHECK(int64_t(image->pixels.size()) == image->patches() * numbers, image->pixels.size(), image->patches(), numbers);
    tower_.fill_patches(*image, patches.data() + first * numbers);
    tower_.fill_taps(*image, ids.data() + first * taps, weights.data() + first * taps);
    for (int i = 0; i < image->patches(); i++) positions[size_t(first + i)] = image->at(i).row, positions[size_t(N + first + i)] = image->at(i).col;
    first += image->patches();
  }
  fill(b.patches, patches.data()), fill(b.positions, positions.data()), fill(b.tap_ids, ids.data()), fill(b.tap_weights, weights.data()), fill(b.cu, cu.data());
  job_ = Job{std::move(images), tower_.begin(c, b)};
  seconds_ = seconds_ + (now_seconds() - t0);
}

// A layer of the job; with the last one its rows are kept, and the job is over.
Status ImageEncoder::step() {
  const double t0 = now_seconds();
  Ctx c = ctx();
  tower_.layer(c, job_->encoding, job_->layer++);
  if (job_->layer == tower_.layers()) {
    rows_ = tower_.finish(c, job_->encoding);
    keep(rows_);
    encoded_ += job_->images.size();
    job_.reset();
  }
  const Status done = device().sync();
  if (!done.ok()) forget_all();
  seconds_ = seconds_ + (now_seconds() - t0);
  return done;
}

}  // namespace xylem
