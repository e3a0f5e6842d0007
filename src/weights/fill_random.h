// Random numbers into the memory of the weights.
#pragma once
#include <cstddef>
#include <cstdint>

#include "weights/fill.h"

namespace xylem {

// Writes the numbers of a task, which depend on `seed` and the placement's `index` alone; `out` is where it begins. Their sizes
// keep activations near 1: matrices preserve the length of their input, vectors are as their parameter says. Parameters that are
// heads of one stored matrix are parts of one random matrix. Any thread.
void fill_random(const Task& task, uint64_t seed, uint64_t index, std::byte* out, FillScratch& scratch);

}  // namespace xylem
