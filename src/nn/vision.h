// What a vision tower is: an encoder of images beside a language model, written with the same blocks.
#pragma once
#include "nn/ctx.h"
#include "nn/model.h"
#include "vision/patches.h"

namespace xylem {

// Images one after the other, as device tensors. N patches in the order of ImagePatches.
struct ImageBatch {
  Tensor patches;      // [N, patch_numbers()] f32
  Tensor positions;    // [2, N] i32: rows, then columns, of the patches in their grids
  Tensor tap_ids;      // [N, taps()] i32: rows of the table of positions
  Tensor tap_weights;  // [N, taps()] f32
  Tensor cu;           // [B + 1] i32: image b holds patches [cu[b], cu[b + 1])
};

// Images on their way through a tower: what stays from layer to layer.
struct Encoding {
  ImageBatch images;
  Tensor x, h;                 // [N, hidden]: the residual stream, and a norm of it where the tower wants that
  Tensor by_row, by_column;    // tables of rotations, or one of both
};

class VisionTower {
 public:
  virtual ~VisionTower() = default;
  virtual void params(ParamList& p) = 0;
  virtual int patch_numbers() const = 0;  // of a patch
  virtual int cell() const = 0;           // patches of a token, along each side
  virtual int width() const = 0;          // of a row, as wide as the language model
  virtual int taps() const = 0;           // of the learned positions of a patch
  // Why it cannot encode an image with such a grid, if so.
  virtual std::string refusal(const ImagePatches& image) const = 0;
  // The patches' numbers as the tower wants them: [patches, patch_numbers()].
  virtual void fill_patches(const ImagePatches& image, float* out) const = 0;
  // [patches, taps()] of an image that is not refused.
  virtual void fill_taps(const ImagePatches& image, int32_t* ids, float* weights) const = 0;
  // One layer after the other, so that other work finds time between them. They read only shapes, as Model::forward.
  virtual int layers() const = 0;
  virtual Encoding begin(Ctx& c, const ImageBatch& b) const = 0;
  virtual void layer(Ctx& c, const Encoding& e, int i) const = 0;
  // One row for each token of the images: [N / cell()^2, width()].
  virtual Tensor finish(Ctx& c, const Encoding& e) const = 0;
};

}  // namespace xylem
