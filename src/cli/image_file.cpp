#include "cli/image_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "vision/image.h"
#include "vision/media.h"

namespace xylem {

Result<Json> image_part(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) return not_found(fmt::format("cannot read the image {}", file));
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  const auto header = read_image_header(std::as_bytes(std::span(bytes)));
  if (!header.ok()) return invalid(fmt::format("{}: {}", file, header.error().text));
  const std::string url = fmt::format("data:{};base64,{}", mime_type(header->format), encode_base64(bytes));
  return Json{{"type", "image_url"}, {"image_url", {{"url", url}}}};
}

Json message_content(const std::string& text, const Json& image_parts) {
  if (image_parts.empty()) return text;
  Json content = image_parts;
  content.push_back({{"type", "text"}, {"text", text}});
  return content;
}

}  // namespace xylem
