// For tests: a tokenizer whose ids are the bytes of the text, and a model context around it.
#pragma once
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/model_context.h"

namespace xylem {

inline std::string utf8(int c) {
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xc0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3f))};
}

// Byte-level BPE without merges: id = byte; 256 <bos>, 257 <eos>, 258 <|im_start|>, 259 <|im_end|>, 260 ... more.
inline std::string byte_tokenizer_json(const std::vector<std::string>& more = {}, bool more_are_special = true) {
  nlohmann::json vocab = nlohmann::json::object();
  for (int b = 0, next = 256; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    vocab[utf8(printable ? b : next++)] = b;
  }
  nlohmann::json added = nlohmann::json::array();
  int id = 256;
  std::vector<std::string> names = {"<bos>", "<eos>", "<|im_start|>", "<|im_end|>"};
  names.insert(names.end(), more.begin(), more.end());
  for (const std::string& name : names) {
    const bool special = id < 260 || more_are_special;
    added.push_back({{"id", id++},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
  }
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return nlohmann::json{{"version", "1.0"},
                        {"truncation", nullptr},
                        {"padding", nullptr},
                        {"added_tokens", added},
                        {"normalizer", nullptr},
                        {"pre_tokenizer", byte_level},
                        {"post_processor", nullptr},
                        {"decoder", byte_level},
                        {"model",
                         {{"type", "BPE"},
                          {"dropout", nullptr},
                          {"unk_token", nullptr},
                          {"continuing_subword_prefix", nullptr},
                          {"end_of_word_suffix", nullptr},
                          {"fuse_unk", false},
                          {"byte_fallback", false},
                          {"vocab", vocab},
                          {"merges", nlohmann::json::array()}}}}
      .dump();
}

inline constexpr const char* kTestTemplate =
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

inline ModelContext test_model() {
  ModelContext m;
  m.tokenizer = Tokenizer::parse(byte_tokenizer_json()).value();
  m.chat_template = ChatTemplate::parse(kTestTemplate).value();
  m.eos_ids = {257};
  m.model_path = "models/fake";
  return m;
}

}  // namespace xylem
