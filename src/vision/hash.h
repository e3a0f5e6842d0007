#pragma once
#include "vision/patches.h"

namespace xylem {

// Of an image's grid and pixels, with a key that this process drew: who sends images cannot make two of them meet.
ContentHash hash_of(const ImagePatches& image);

}  // namespace xylem
