// The decoder of a tokenizer.json: vocabulary spellings -> text. It works on streams; decoding all at once is a stream
// too, so that both give the same text by construction.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_json.h"
#include "text/tokenizer_regex.h"

namespace xylem {

// Immutable, shared by any number of streams.
class Decoder {
 public:
  // The decoder of a tokenizer.json without one: tokens with a space between them.
  Decoder();
  static Result<Decoder> parse(tokenizer_json::Json json);

 private:
  friend class DecoderStream;
  enum class Kind { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace, kBpe, kJoin };
  struct Step {
    Kind kind;
    Pattern pattern;             // kReplace
    std::string content;         // kReplace, kBpe (the suffix), kStrip and kMetaspace (one character)
    size_t start = 0, stop = 0;  // kStrip
    bool drop_first = false;     // kMetaspace
    bool fused = false;          // all tokens arrive as fragments of one
  };
  Status add(tokenizer_json::Json json, const std::string& type);
  Status add_strip(tokenizer_json::Json json);
  Status add_metaspace(tokenizer_json::Json json);

  std::vector<Step> steps_;
};

// One stream, one thread at a time. The decoder must outlive it.
class DecoderStream {
 public:
  explicit DecoderStream(const Decoder& decoder);

  // Appends to out the text that became final.
  void push(std::string_view token, std::string& out);
  // What the stream still held; the stream is over.
  void finish(std::string& out);
  // What was pushed so far belongs to somebody else, who has shown it: nothing of it comes out any more, except as part
  // of a character that began there and ends in a later token.
  void settle();

 private:
  struct State {
    std::string held;
    size_t foreign_bytes = 0;  // at the front of held, shown by somebody else if they form no character
    size_t cut = 0;            // kStrip: characters taken off the front
    bool begun = false;
  };
  using Step = Decoder::Step;
  void feed(size_t step, std::string_view token, std::string& out);
  void end(size_t step, std::string& out);
  void feed_byte_level(size_t step, std::string_view token, std::string& out);
  void feed_byte_fallback(size_t step, std::string_view token, std::string& out);
  void flush_bytes(size_t step, std::string& out);
  void feed_strip(size_t step, std::string_view fragment, std::string& out);
  void feed_bpe(size_t step, std::string_view token, std::string& out);
  std::string whole(const Step& step, std::string_view token, bool first, bool last);
  static std::string strip(const Step& step, std::string_view token);

  const Decoder* decoder_;
  std::vector<State> states_;
  PatternScratch scratch_;
};

}  // namespace xylem
