// What a client calls an image -> the bytes of its file.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace xylem {

struct MediaAccess {
  std::string local_path;                // file:// and plain paths below this folder (symbolic links resolved) are read; empty: none
  std::vector<std::string> domains;      // hosts that http(s):// may be fetched from, redirections included; empty: none
  int64_t max_file_bytes = int64_t(64) << 20;
  double timeout_seconds = 10;           // of a fetch, all in all
};

// data:image/png;base64,... , file:///path , http(s)://... , and with raw_base64 also a bare base64 text. Blocks: for worker threads.
// Errors say what is wrong and which flag would allow it; they never show what lies on the server's disk or network.
// A MIME type that a data URL names must be an image's that is understood, and that of the bytes.
Result<std::string> load_media(std::string_view url, const MediaAccess& access, bool raw_base64);

// Standard alphabet, padding required; whitespace within is an error.
Result<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace xylem
