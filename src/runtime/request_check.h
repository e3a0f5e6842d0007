// What a client's request must be before it enters the engine.
#pragma once
#include "nn/model.h"
#include "runtime/engine.h"

namespace xylem {

// kInvalid with a sentence for the client. Any thread.
Status check_request(const GenerateRequest& r, const EngineInfo& info, const Model& model);

}  // namespace xylem
