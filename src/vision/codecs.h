// The formats of pictures, each behind the same three questions. No exception or jump of a library leaves these
// functions.
#pragma once
#include <cstddef>
#include <optional>
#include <span>

#include "base/result.h"
#include "vision/image.h"

namespace xylem {

using FileBytes = std::span<const std::byte>;

// By the signature alone; nothing more is checked.
std::optional<ImageFormat> image_format(FileBytes file);

Result<ImageHeader> png_header(FileBytes file);
Result<ImageHeader> jpeg_header(FileBytes file);
Result<ImageHeader> webp_header(FileBytes file);

// image has the size of the header, and room for its pixels. A file that says another size here is an error.
Status decode_png(FileBytes file, Image& image);
Status decode_jpeg(FileBytes file, Image& image);
Status decode_webp(FileBytes file, Image& image);

}  // namespace xylem
