#include "vision/config.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace xylem {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr uintmax_t kMaxConfigBytes = 16 << 20;

// Nothing when there is no such file.
Result<std::optional<Json>> read_json(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<Json>();
  const uintmax_t bytes = fs::file_size(path, error);
  if (error || bytes > kMaxConfigBytes) return invalid(path.string() + " cannot be read: not a file, or too large.");
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return invalid(path.string() + " cannot be read.");
  Json json = Json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return invalid(path.string() + " is not a JSON object.");
  return std::optional<Json>(std::move(json));
}

// The value of a key, null where it is absent.
const Json& at(const Json& object, const char* key) {
  static const Json null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

// Reads the keys of one object; remembers the first that is not what it should be.
class Reader {
 public:
  Reader(const Json& object, std::string file) : object_(object), file_(std::move(file)) {}

  std::optional<int64_t> integer(const char* key) { return integer_of(at(object_, key), key); }
  std::optional<int64_t> integer(const char* outer, const char* key) {
    const Json& o = at(object_, outer);
    return o.is_object() ? integer_of(at(o, key), key) : std::nullopt;
  }
  std::optional<double> number(const char* key) {
    const Json& v = at(object_, key);
    if (v.is_null()) return std::nullopt;
    if (!v.is_number()) return wrong<double>(key, "a number");
    return v.get<double>();
  }
  std::optional<bool> flag(const char* key) {
    const Json& v = at(object_, key);
    if (v.is_null()) return std::nullopt;
    if (!v.is_boolean()) return wrong<bool>(key, "true or false");
    return v.get<bool>();
  }
  std::optional<std::array<double, 3>> colour(const char* key) {
    const Json& v = at(object_, key);
    if (v.is_null()) return std::nullopt;
    std::array<double, 3> c;
    for (int i = 0; i < 3; ++i) {
      if (!v.is_array() || v.size() != 3 || !v[i].is_number())
        return wrong<std::array<double, 3>>(key, "three numbers");
      c[i] = v[i].get<double>();
    }
    return c;
  }
  std::string text(const char* key) {
    const Json& v = at(object_, key);
    return v.is_string() ? v.get<std::string>() : "";
  }
  // Under its name, or that of older files.
  std::optional<TokenId> token(const std::string& name) {
    auto id = integer((name + "_token_id").c_str());
    if (!id) id = integer((name + "_token_index").c_str());
    if (id && (*id < 0 || *id > INT32_MAX)) return wrong<TokenId>((name + "_token_id").c_str(), "a token id");
    return id ? std::optional<TokenId>(static_cast<TokenId>(*id)) : std::nullopt;
  }
  Status status() const { return error_.empty() ? Status() : Status(invalid(error_)); }

 private:
  std::optional<int64_t> integer_of(const Json& v, const char* key) {
    if (v.is_null()) return std::nullopt;
    if (!v.is_number_integer() || (v.is_number_unsigned() && v.get<uint64_t>() > INT64_MAX))
      return wrong<int64_t>(key, "a whole number");
    return v.get<int64_t>();
  }
  template <class T>
  std::optional<T> wrong(const char* key, const char* should_be) {
    if (error_.empty()) error_ = file_ + ": " + key + " is not " + should_be + ".";
    return std::nullopt;
  }

  const Json& object_;
  std::string file_, error_;
};

Status read_tokens(const Json& config, const std::string& file, ProcessorConfig& c) {
  Reader r(config, file);
  c.image_token = r.token("image");
  c.begin_token = r.token("boi");
  c.end_token = r.token("eoi");
  if (!c.max_soft_tokens) c.max_soft_tokens = r.integer("vision_soft_tokens_per_image");
  return r.status();
}

Status read_processor(const Json& json, ProcessorConfig& c) {
  Reader r(json, c.file);
  c.type = r.text("image_processor_type");
  c.patch_size = r.integer("patch_size");
  c.pooling_kernel_size = r.integer("pooling_kernel_size");
  c.merge_size = r.integer("merge_size");
  c.temporal_patch_size = r.integer("temporal_patch_size");
  c.max_soft_tokens = r.integer("max_soft_tokens");
  c.resample = r.integer("resample");
  c.min_pixels = r.integer("min_pixels");
  c.max_pixels = r.integer("max_pixels");
  if (!c.min_pixels) c.min_pixels = r.integer("size", "shortest_edge");
  if (!c.max_pixels) c.max_pixels = r.integer("size", "longest_edge");
  c.do_resize = r.flag("do_resize");
  c.do_rescale = r.flag("do_rescale");
  c.do_normalize = r.flag("do_normalize");
  c.rescale_factor = r.number("rescale_factor");
  c.image_mean = r.colour("image_mean");
  c.image_std = r.colour("image_std");
  return r.status();
}

}  // namespace

Result<std::optional<ProcessorConfig>> read_processor_config(const std::string& folder) {
  const fs::path dir(folder);
  TRY(const auto config, read_json(dir / "config.json"));
  if (!config) return not_found(folder + " has no config.json.");
  if (at(*config, "vision_config").is_null()) return std::optional<ProcessorConfig>();
  ProcessorConfig c;
  // As the reference: what the newer file holds comes before the older file.
  TRY(const auto newer, read_json(dir / "processor_config.json"));
  if (newer && at(*newer, "image_processor").is_object()) {
    c.file = (dir / "processor_config.json").string();
    TRY_VOID(read_processor(at(*newer, "image_processor"), c));
  } else {
    c.file = (dir / "preprocessor_config.json").string();
    TRY(const auto older, read_json(c.file));
    if (!older)
      return not_found(c.file +
                       " is missing: config.json describes a vision model, and that file says how images are "
                       "prepared for it. Copy it from the model's repository.");
    TRY_VOID(read_processor(*older, c));
  }
  TRY_VOID(read_tokens(*config, (dir / "config.json").string(), c));
  return std::optional<ProcessorConfig>(std::move(c));
}

Result<int> setting(const ProcessorConfig& c, const char* key, const std::optional<int64_t>& value, int64_t otherwise,
                    int least, int most) {
  const int64_t v = value.value_or(otherwise);
  if (v < least || v > most)
    return invalid(c.file + ": " + key + " is " + std::to_string(v) + ", but must lie between " +
                   std::to_string(least) + " and " + std::to_string(most) + ".");
  return static_cast<int>(v);
}

Result<TokenId> required_token(const char* key, const std::optional<TokenId>& token) {
  if (!token) return invalid(std::string("config.json has no ") + key + ", which images need.");
  return *token;
}

Status check_resize(const ProcessorConfig& c) {
  constexpr int64_t kBicubic = 3;
  if (!c.do_resize.value_or(true)) return unsupported(c.file + ": do_resize is false; only true is supported.");
  if (c.resample.value_or(kBicubic) != kBicubic)
    return unsupported(c.file + ": resample is " + std::to_string(*c.resample) + "; only 3 (bicubic) is supported.");
  return {};
}

Result<PixelTable> pixel_table(const ProcessorConfig& c, bool normalize_by_default, std::array<double, 3> mean,
                               std::array<double, 3> deviation) {
  if (!c.do_rescale.value_or(true)) return unsupported(c.file + ": do_rescale is false; only true is supported.");
  const double factor = c.rescale_factor.value_or(1.0 / 255);
  if (!(factor > 0)) return invalid(c.file + ": rescale_factor must be greater than 0.");
  const bool normalize = c.do_normalize.value_or(normalize_by_default);
  mean = c.image_mean.value_or(mean);
  deviation = c.image_std.value_or(deviation);
  PixelTable table;
  for (int colour = 0; colour < 3; ++colour) {
    if (normalize && !(deviation[colour] > 0)) return invalid(c.file + ": image_std must be greater than 0.");
    const float levels = static_cast<float>(1.0 / factor);
    const float m = static_cast<float>(mean[colour]) * levels, d = static_cast<float>(deviation[colour]) * levels;
    for (int v = 0; v < 256; ++v)
      table.value[colour][v] =
          normalize ? (static_cast<float>(v) - m) / d : static_cast<float>(v) * static_cast<float>(factor);
  }
  return table;
}

}  // namespace xylem
