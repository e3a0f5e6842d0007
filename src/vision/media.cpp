#include "vision/media.h"

#include <algorithm>
#include <optional>

#include "vision/codecs.h"
#include "vision/sources.h"

namespace xylem {
namespace {

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool begins_with(std::string_view s, std::string_view prefix) { return lower(s.substr(0, prefix.size())) == prefix; }

std::optional<ImageFormat> format_of(std::string_view bytes) {
  return image_format(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Status check_mime(const std::string& mime, std::string_view bytes) {
  std::optional<ImageFormat> named;
  for (const ImageFormat f : {ImageFormat::kPng, ImageFormat::kJpeg, ImageFormat::kWebp})
    if (mime == mime_type(f)) named = f;
  if (mime == "image/jpg") named = ImageFormat::kJpeg;
  if (!named) return invalid("The data URL's type is not one that is understood: image/png, image/jpeg, image/webp.");
  const auto found = format_of(bytes);
  if (found == named) return {};
  return invalid(std::string("The data URL says ") + mime_type(*named) + ", but its data is " +
                 (found ? mime_type(*found) : "none of image/png, image/jpeg, image/webp") + ".");
}

Result<std::string> read_base64(std::string_view text, const MediaAccess& access) {
  if (static_cast<int64_t>(text.size() / 4 * 3) > access.max_file_bytes + 2) return too_large(access);
  TRY(std::string bytes, decode_base64(text));
  if (static_cast<int64_t>(bytes.size()) > access.max_file_bytes) return too_large(access);
  return bytes;
}

// data:[TYPE][;PARAMETER]...;base64,DATA
Result<std::string> read_data_url(std::string_view url, const MediaAccess& access) {
  const size_t comma = url.find(',');
  if (comma == url.npos) return invalid("The data URL has no comma before its data.");
  const std::string head = lower(url.substr(5, comma - 5));
  if (!head.ends_with(";base64")) return invalid("The data URL is not base64: write data:image/png;base64,...");
  TRY(std::string bytes, read_base64(url.substr(comma + 1), access));
  const std::string mime = head.substr(0, head.find(';'));
  if (!mime.empty()) TRY_VOID(check_mime(mime, bytes));
  return bytes;
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '%') {
      out += s[i];
      continue;
    }
    if (i + 2 >= s.size() || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0) return std::nullopt;
    out += static_cast<char>(hex(s[i + 1]) * 16 + hex(s[i + 2]));
    i += 2;
  }
  return out;
}

Result<std::string> read_file_url(std::string_view url, const MediaAccess& access) {
  std::string_view rest = url.substr(7);
  if (begins_with(rest, "localhost/")) rest.remove_prefix(9);
  if (!rest.starts_with('/')) return invalid("A file URL is written file:///path: it names no host.");
  const auto path = percent_decoded(rest);
  if (!path) return invalid("The file URL holds a % that two hexadecimal digits do not follow.");
  return read_local_file(*path, access);
}

// Base64 if its data is an image; paths may consist of the same letters.
Result<std::string> read_base64_or_file(std::string_view text, const MediaAccess& access) {
  auto bytes = read_base64(text, access);
  if (bytes.ok() && format_of(*bytes)) return bytes;
  if (!access.local_path.empty() && text.size() < 4096) return read_local_file(std::string(text), access);
  if (!bytes.ok()) return bytes;
  return invalid("The image's data is none of the formats that are understood: PNG, JPEG, WebP.");
}

}  // namespace

Error too_large(const MediaAccess& access) {
  return invalid("The image's file has more than " + std::to_string(access.max_file_bytes) +
                 " bytes; send a smaller one.");
}

Result<std::string> load_media(std::string_view url, const MediaAccess& access, bool raw_base64) {
  if (url.empty()) return invalid("The image's URL is empty.");
  if (begins_with(url, "data:")) return read_data_url(url, access);
  if (begins_with(url, "file://")) return read_file_url(url, access);
  if (begins_with(url, "http://") || begins_with(url, "https://")) return fetch_url(std::string(url), access);
  if (raw_base64) return read_base64_or_file(url, access);
  if (access.local_path.empty() || url.size() >= 4096 || url.find("://") != url.npos)
    return invalid(
        "The image's URL is none of the kinds that are understood: data:image/png;base64,..., http(s)://, file://.");
  return read_local_file(std::string(url), access);
}

}  // namespace xylem
