// A stand-in for Intel's OpenCL driver: it takes everything, computes nothing and writes down what it is asked to compile.
// A program that is linked with it sees one GPU.
#pragma once
#include <set>
#include <string>
#include <tuple>

namespace xylem {

struct RecordedKernel {
  std::string source, options, entry;
  auto operator<=>(const RecordedKernel&) const = default;
};

struct RecordingDriver {
  int sub_group = 16;  // set before the first call: 16, or 8 as Arc A and Arrow Lake-H have it
  std::set<RecordedKernel> kernels;
  uint64_t launches = 0;
};
RecordingDriver& recording_driver();

}  // namespace xylem
