#include "server/mailbox.h"

#include <boost/asio/post.hpp>

#include "base/clock.h"

namespace xylem {

Mailbox::Mailbox(std::shared_ptr<Connection> owner, size_t max_items)
    : owner_(std::move(owner)), executor_(owner_->executor()), max_items_(max_items) {}

void Mailbox::on_event(EngineEvent event) {
  std::lock_guard lock(mu_);
  if (!owner_) return;
  if (items_.size() < max_items_)
    items_.push_back({std::move(event), now_seconds()});
  else
    overflowed_ = true;
  if (notified_) return;
  notified_ = true;
  // Under the lock: close() may then destroy the executor without a race.
  asio::post(*executor_, [owner = owner_] { owner->wake(); });
}

void Mailbox::drain(std::vector<Item>& out) {
  out.clear();
  std::lock_guard lock(mu_);
  std::swap(out, items_);
  notified_ = false;
}

bool Mailbox::overflowed() const {
  std::lock_guard lock(mu_);
  return overflowed_;
}

void Mailbox::close() {
  std::lock_guard lock(mu_);
  owner_.reset();
  executor_.reset();
  items_.clear();
}

std::shared_ptr<Mailbox> Mailboxes::open(std::shared_ptr<Connection> owner, size_t max_items) {
  auto mailbox = std::make_shared<Mailbox>(std::move(owner), max_items);
  std::lock_guard lock(mu_);
  return *open_.insert(std::move(mailbox)).first;
}

void Mailboxes::close(const std::shared_ptr<Mailbox>& mailbox) {
  std::lock_guard lock(mu_);
  if (open_.erase(mailbox) > 0) mailbox->close();
}

void Mailboxes::close_all() {
  std::lock_guard lock(mu_);
  for (const auto& mailbox : open_) mailbox->close();
  open_.clear();
}

}  // namespace xylem
