// An image as a vision tower takes it.
#pragma once
#include <compare>
#include <cstdint>
#include <vector>

namespace xylem {

struct ContentHash {
  uint64_t lo = 0, hi = 0;
  auto operator<=>(const ContentHash&) const = default;
};

// A grid of square patches. A token of the language model stands for a cell of cell x cell patches.
struct ImagePatches {
  int grid_h = 0, grid_w = 0;  // patches, multiples of cell
  int cell = 1;
  std::vector<float> pixels;   // [patches, numbers of a patch]: cells in rows, within each its patches in rows
  ContentHash hash;            // of all of the above, with the key of its processor

  struct At { int row, col; };
  int patches() const { return grid_h * grid_w; }
  int tokens() const { return patches() / (cell * cell); }
  int cells_h() const { return grid_h / cell; }
  int cells_w() const { return grid_w / cell; }
  // Where the i-th patch lies in the grid.
  At at(int i) const {
    const int in_cell = i % (cell * cell), of = i / (cell * cell);
    return {of / cells_w() * cell + in_cell / cell, of % cells_w() * cell + in_cell % cell};
  }
};

}  // namespace xylem
