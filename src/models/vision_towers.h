// Vision towers of the families that have one. vision: vision_config; width: of the language model's rows; rest: the tower's
// errors are the config's.
#pragma once
#include <memory>

#include "nn/config.h"
#include "nn/vision.h"

namespace xylem {

std::unique_ptr<VisionTower> make_gemma4_tower(const Config& vision, int64_t width);
std::unique_ptr<VisionTower> make_qwen3_5_tower(const Config& vision);

}  // namespace xylem
