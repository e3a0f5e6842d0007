// What the HTTP side needs of a checkpoint besides its weights: text <-> ids, the chat template, defaults and end
// tokens.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "runtime/engine.h"
#include "text/chat_template.h"
#include "text/reasoning.h"
#include "text/tokenizer.h"
#include "vision/processor.h"

namespace xylem {

// generation_config.json: used for whatever a request leaves unset (unless sampling_defaults is "openai").
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;  // do_sample = false gives temperature 0
  std::optional<int> top_k;
};

// Immutable after load; shared by all HTTP threads.
struct ModelContext {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null: chat requests are refused with a 400 that says so
  bool template_takes_parts = false;                  // renders content given as a list of parts; else parts are joined
  GenerationDefaults defaults;
  std::vector<TokenId> eos_ids;       // generation_config.json, else config.json, else the tokenizer's; harmony's own
  std::vector<TokenId> suppress_ids;  // never sampled (generation_config.json)
  std::shared_ptr<const ReasoningFormat> reasoning;  // how answers mark reasoning; null: they do not
  std::shared_ptr<const ImageProcessor> images;      // null: the engine takes none
  std::string model_path;
};

// folder: a checkpoint. chat_template_file: a Jinja file used in place of the folder's own template; empty = the
// folder's. reasoning_parser: a name of reasoning_parser_names().
Result<ModelContext> load_model_context(const std::string& folder, const std::string& chat_template_file = "",
                                        const std::string& reasoning_parser = "auto");

// Adds what images need if the engine takes them. options: those of the engine's config.
Status add_image_processor(ModelContext& context, const EngineInfo& engine, const ImageOptions& options);

// Whether the template itself handles content given as [{"type": "text", "text": ...}] (found by rendering a probe).
bool probe_template_takes_parts(const ChatTemplate& chat_template);

}  // namespace xylem
