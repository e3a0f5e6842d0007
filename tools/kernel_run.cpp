// kernel_run [--lanes 0|3] [--sub-group 16|8] [--cases FILE] [--mutant FILE]
// Parity cases of the OpenCL kernels on the first usable device, for tools that watch the kernels (oclgrind) and for planted
// bugs. --lanes 3: lane operations neither exchange nor synchronise (X_HW of shim.clh); results are then not compared.
// --cases: those alone, as lines of `kernel_list cases`.
// --mutant: a JSON file {"file", "from", "to"} that changes one of the program's .cl or .clh files. Exit status: 0 all well, 1
// a result is wrong, 2 a wrong argument or no device, 3 the text to change is not there exactly once.
// kernel_run --device: whether there is one.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "device/op_spec.h"
#include "device/opencl/opencl_device.h"

namespace xylem {
namespace {

struct Arguments {
  int lanes = 0, sub_group = 16;
  std::string cases, mutant;
};

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (++i == argc) return {};
    if (name == "--lanes") a.lanes = std::atoi(argv[i]);
    else if (name == "--sub-group") a.sub_group = std::atoi(argv[i]);
    else if (name == "--cases") a.cases = argv[i];
    else if (name == "--mutant") a.mutant = argv[i];
    else return {};
  }
  return a;
}

std::set<std::string> read_cases(const std::string& path) {
  std::set<std::string> cases;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) cases.insert(line.substr(0, line.find('\t')));
  return cases;
}

// Whether the text to change is there once.
bool plant(const std::string& path) {
  const nlohmann::json m = nlohmann::json::parse(std::ifstream(path));
  const auto file = m.at("file").get<std::string>(), from = m.at("from").get<std::string>(), to = m.at("to").get<std::string>();
  for (ClSource& s : cl_sources()) {
    if (file != s.name) continue;
    std::string text = s.text;
    const size_t at = text.find(from);
    if (at == std::string::npos || text.find(from, at + 1) != std::string::npos) return false;
    text.replace(at, from.size(), to);
    s.text = strdup(text.c_str());  // for the life of the program, as the others
    return true;
  }
  return false;
}

int run(const Arguments& a) {
  if (!a.mutant.empty() && !plant(a.mutant)) {
    std::cout << "the text to change is not there exactly once\n";
    return 3;
  }
  const std::set<std::string> cases = read_cases(a.cases);
  for (OpenClInfo info : opencl_devices()) {
    if (!info.problem.empty()) continue;
    info.lanes = LaneMode(a.lanes), info.sub_group = a.sub_group;
    auto device = OpenClDevice::open(info, /*test=*/false);
    CHECK(device.ok(), device.error().text);
    bool well = true;
    for (const KernelInfo& k : kernel_list()) {
      if (k.dev != Dev::kOpenCl || std::string_view(k.name) == "host") continue;  // those that copy to the host and back
      const auto op = std::find_if(op_registry().begin(), op_registry().end(), [&](const OpEntry& o) { return std::string_view(o.name) == k.op; });
      CHECK(op != op_registry().end(), k.op);
      ParityOptions options;
      std::string last;  // asked for twice
      options.device_guards = info.name.find("Oclgrind") == std::string::npos;
      options.wanted = [&](const char* kernel, const std::string& label, size_t) {
        const std::string name = fmt::format("{}/{} {}", k.op, k.name, label);
        if (std::string_view(kernel) != k.name || (!a.cases.empty() && !cases.contains(name))) return false;
        if (name != std::exchange(last, name)) std::cout << name << std::endl;
        return true;
      };
      const ParityReport r = op->parity(**device, options);
      if (r.run) std::cout << "RAN " << k.op << "/" << k.name << " " << r.run << std::endl;
      for (const std::string& f : r.failures) {
        const bool result = f.find("nmse") != std::string::npos || f.find("integers differ") != std::string::npos;
        if (result && a.lanes == int(LaneMode::kRaceCheck)) continue;
        std::cout << "WRONG " << f << std::endl, well = false;
      }
    }
    return well ? 0 : 1;
  }
  std::cout << "there is no OpenCL device\n";
  return 2;
}

}  // namespace
}  // namespace xylem

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--device") {
    const auto all = xylem::opencl_devices();
    return std::any_of(all.begin(), all.end(), [](const auto& d) { return d.problem.empty(); }) ? 0 : 2;
  }
  const auto a = xylem::parse(argc, argv);
  if (a) return xylem::run(*a);
  std::cerr << "usage: kernel_run [--lanes 0|3] [--sub-group 16|8] [--cases FILE] [--mutant FILE]\n";
  return 2;
}
