// The images of one request, loaded by the worker pool.
#pragma once
#include <boost/asio/awaitable.hpp>
#include <map>
#include <mutex>

#include "server/body_images.h"
#include "server/errand.h"
#include "server/memory_budget.h"

namespace xylem {

class ImageLoad : public Errand {
 public:
  // sources point into body. A piece is a distinct source.
  ImageLoad(App& app, std::shared_ptr<Connection> client, std::shared_ptr<const Json> body,
            std::vector<ImageSource> sources);
  size_t pieces() const { return distinct_.size(); }

  // Once done(): the images, or the first error; and the memory that they hold.
  Result<BodyImages> take(MemoryLease& memory);

 protected:
  void work(size_t piece) override;
  void fail(Error error) override;

 private:
  Status keep(size_t piece, ImagePtr image);  // with the lock

  App& app_;
  const std::shared_ptr<const Json> body_;
  const std::vector<ImageSource> sources_;
  std::vector<size_t> first_;     // of each source: the one it equals
  std::vector<size_t> distinct_;  // of each piece: its source
  std::mutex mu_;
  std::vector<ImagePtr> images_;          // of distinct_
  std::map<int, int64_t> prompt_tokens_;  // of the images of each prompt so far
  MemoryLease memory_;
  std::optional<Error> error_;
  size_t left_;
};

}  // namespace xylem
