// A progress bar on a terminal.
#pragma once
#include <cstdint>
#include <string>

namespace xylem {

// Draws on stderr when that is a terminal and `wanted`; otherwise does nothing. One thread.
class ProgressBar {
 public:
  ProgressBar(std::string title, int64_t total_bytes, bool wanted);
  ~ProgressBar();  // removes the bar
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void update(int64_t done_bytes);

 private:
  std::string title_;
  int64_t total_;
  bool active_;
  double start_, next_ = 0;
};

}  // namespace xylem
