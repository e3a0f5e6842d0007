// From the files into the memory of the weights.
#pragma once
#include <cstddef>
#include <vector>

#include "weights/task.h"

namespace xylem {

// Memory that one thread reuses from task to task.
struct FillScratch {
  std::vector<float> numbers, scales;
  std::vector<std::byte> zeros;
};

// Writes the numbers of a task; `out` is where its placement begins. Errors: quantised weights that are not numbers, naming the
// tensor (a kernel would spread them over every output).
Status fill_task(const Task& task, std::byte* out, FillScratch& scratch);

}  // namespace xylem
