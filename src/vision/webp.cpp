#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "vision/codecs.h"

namespace xylem {
namespace {

constexpr const char* kDamaged = "The WebP image cannot be decoded: the file is truncated or damaged.";

struct DeleteDemuxer {
  void operator()(WebPDemuxer* d) const { WebPDemuxDelete(d); }
};

// The first frame of a file, which a picture that does not move has too.
struct FirstFrame {
  WebPIterator it = {};
  bool ok;
  explicit FirstFrame(const WebPDemuxer* demuxer) : ok(WebPDemuxGetFrame(demuxer, 1, &it) != 0) {}
  ~FirstFrame() { WebPDemuxReleaseIterator(&it); }
  FirstFrame(const FirstFrame&) = delete;
  FirstFrame& operator=(const FirstFrame&) = delete;
  bool within(const Image& canvas) const {
    return it.x_offset >= 0 && it.y_offset >= 0 && it.width > 0 && it.height > 0 &&
           it.width <= canvas.width - it.x_offset && it.height <= canvas.height - it.y_offset;
  }
};

// Writes the frame where it lies on the canvas; the rest stays black. Transparency is dropped, not blended.
bool decode_frame(const WebPIterator& frame, Image& canvas) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return false;
  if (WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &config.input) != VP8_STATUS_OK) return false;
  if (config.input.width != frame.width || config.input.height != frame.height) return false;
  const size_t begin = (size_t(frame.y_offset) * canvas.width + frame.x_offset) * 3;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = canvas.rgb.data() + begin;
  config.output.u.RGBA.stride = canvas.width * 3;
  config.output.u.RGBA.size = canvas.rgb.size() - begin;
  const bool ok = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config) == VP8_STATUS_OK;
  WebPFreeDecBuffer(&config.output);
  return ok;
}

const uint8_t* bytes_of(FileBytes file) { return reinterpret_cast<const uint8_t*>(file.data()); }

}  // namespace

Result<ImageHeader> webp_header(FileBytes file) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes_of(file), file.size(), &features) != VP8_STATUS_OK) return invalid(kDamaged);
  return ImageHeader{ImageFormat::kWebp, features.width, features.height};
}

Status decode_webp(FileBytes file, Image& image) {
  const WebPData data = {bytes_of(file), file.size()};
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&data));
  if (!demuxer) return invalid(kDamaged);
  if (WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH) != uint32_t(image.width) ||
      WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT) != uint32_t(image.height))
    return invalid("The WebP image cannot be decoded: its header contradicts itself.");
  const FirstFrame frame(demuxer.get());
  if (!frame.ok || !frame.it.complete || !frame.within(image) || !decode_frame(frame.it, image))
    return invalid(kDamaged);
  return {};
}

}  // namespace xylem
