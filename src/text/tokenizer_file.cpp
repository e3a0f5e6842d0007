#include "text/tokenizer_file.h"

#include <lzma.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace xylem {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxMemoryBytes = 512 << 20;    // of the decompressor
constexpr size_t kMaxJsonBytes = size_t{2} << 30;  // released files stay below 64 MB

Result<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code ec;
  const auto size = fs::file_size(path, ec);
  if (!in || ec) return not_found("Cannot read " + path.string() + ".");
  if (size > kMaxJsonBytes) return invalid(path.string() + " is too large for a tokenizer.");
  std::string data(size, '\0');
  in.read(data.data(), static_cast<std::streamsize>(size));
  if (static_cast<uintmax_t>(in.gcount()) != size) return invalid("Cannot read all of " + path.string() + ".");
  return data;
}

Result<std::string> unpack_xz(const std::string& packed, const fs::path& path) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMaxMemoryBytes, LZMA_CONCATENATED) != LZMA_OK) {
    return no_capacity("There is no memory to unpack " + path.string() + ".");
  }
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string out;
  lzma_ret state = LZMA_OK;
  while (state == LZMA_OK && out.size() < kMaxJsonBytes) {
    const size_t done = out.size();
    out.resize(std::max<size_t>(1 << 20, done * 2));
    stream.next_out = reinterpret_cast<uint8_t*>(out.data() + done);
    stream.avail_out = out.size() - done;
    state = lzma_code(&stream, LZMA_FINISH);
    out.resize(out.size() - stream.avail_out);
  }
  lzma_end(&stream);
  if (state != LZMA_STREAM_END) return invalid(path.string() + " is damaged or too large: it cannot be unpacked.");
  return out;
}

}  // namespace

Result<simdjson::padded_string> read_tokenizer_json(const std::string& folder) {
  const fs::path plain = fs::path(folder) / "tokenizer.json", packed = fs::path(folder) / "tokenizer.json.xz";
  std::error_code ec;
  if (fs::is_regular_file(plain, ec)) {
    TRY(const std::string text, read_file(plain));
    return simdjson::padded_string(text);
  }
  if (fs::is_regular_file(packed, ec)) {
    TRY(const std::string data, read_file(packed));
    TRY(const std::string text, unpack_xz(data, packed));
    return simdjson::padded_string(text);
  }
  return not_found("There is no tokenizer.json in " + folder + ".");
}

Result<std::map<std::string, std::string, std::less<>>> read_token_roles(const std::string& folder) {
  std::map<std::string, std::string, std::less<>> roles;
  const fs::path path = fs::path(folder) / "tokenizer_config.json";
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return roles;
  TRY(const std::string text, read_file(path));
  simdjson::dom::parser parser;
  simdjson::dom::object config;
  if (const auto e = parser.parse(text).get_object().get(config); e != simdjson::SUCCESS) {
    return invalid(path.string() + " is not a JSON object: " + simdjson::error_message(e) + ".");
  }
  for (const auto field : config) {
    std::string_view spelling;
    if (!field.key.ends_with("_token")) continue;
    if (field.value.get_string().get(spelling) == simdjson::SUCCESS ||
        field.value.at_key("content").get_string().get(spelling) == simdjson::SUCCESS) {
      roles.emplace(field.key, spelling);
    }
  }
  return roles;
}

}  // namespace xylem
