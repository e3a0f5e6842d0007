// From a configuration to everything the engine runs on.
#pragma once
#include <memory>

#include "runtime/engine.h"
#include "runtime/runner.h"
#include "sched/scheduler.h"

namespace xylem {

struct LoadedEngine {
  EngineInfo info;
  std::unique_ptr<Runner> runner;
  std::unique_ptr<Scheduler> sched;
  StepLimits limits;
};

// Reads the checkpoint, plans memory, allocates. Logs what was chosen.
Result<LoadedEngine> load_engine(const EngineConfig& config);

}  // namespace xylem
