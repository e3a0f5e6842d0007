// The commands of the program. Each gets its parsed options and returns what the shell gets: 0, or an error to print.
#pragma once
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/options.h"

namespace xylem {

struct ServeOptions {
  ModelOptionsCli model;
  ServerConfig server;
};
Status serve(ServeOptions o);

struct RunOptions {
  ModelOptionsCli model;
  SamplingFlags sampling;
  std::string prompt, system;  // prompt empty: standard input
  std::vector<std::string> images;  // files, shown before the prompt
  bool raw = false, stats = false;
};
Status run_prompt(RunOptions o);

struct ChatOptions {
  ModelOptionsCli model;
  SamplingFlags sampling;
  std::string system;
  bool stats = false;
};
Status chat(ChatOptions o);

struct InspectOptions {
  std::string model, dtype = "auto";
  bool tensors = false;
};
Status inspect(InspectOptions o);

struct DevicesOptions {
  bool kernels = false;
};
Status devices(DevicesOptions o);

struct BenchBatchOptions {
  ModelOptionsCli model;
  int batch_size = 1, input_len = 128, output_len = 64, repeats = 3;
  bool json = false;
};
Status bench_one_batch(BenchBatchOptions o);

struct BenchServingOptions {
  std::string url = "http://127.0.0.1:30000", api_key, output_file;
  int num_prompts = 200, input_len = 128, output_len = 64, max_concurrency = 0, warmup = 1;
  double range_ratio = 1.0, request_rate = 0;  // 0: all at once
  uint64_t seed = 42;
  bool same_prompt = false;
};
Status bench_serving(BenchServingOptions o);

struct BenchOpsOptions {
  std::string op, isa = "auto";
  int threads = 0;
  double seconds = 0.2;  // of each kernel and case
};
Status bench_ops(BenchOpsOptions o);

struct EvalOptions {
  ModelOptionsCli model;
  std::string url, api_key, file;  // url empty: the model is loaded here
  int concurrency = 8;
  bool show_differences = false;
};
Status eval(EvalOptions o);

}  // namespace xylem
