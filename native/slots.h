// A table of values that JavaScript names by small integers. Freed places are used again; whoever holds a handle on the
// JavaScript side forgets it when it frees it, so a handle in use is always live.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

template <typename T>
class Slots {
 public:
  int32_t add(T value) {
    if (free_.empty()) {
      values_.emplace_back(std::move(value));
      return static_cast<int32_t>(values_.size()) - 1;
    }
    int32_t handle = free_.back();
    free_.pop_back();
    values_[handle] = std::move(value);
    return handle;
  }

  T& at(int32_t handle) {
    if (handle < 0 || handle >= static_cast<int32_t>(values_.size()) || !values_[handle])
      throw std::invalid_argument("handle " + std::to_string(handle) + " is not live");
    return *values_[handle];
  }

  void remove(int32_t handle) {
    at(handle);
    values_[handle].reset();
    free_.push_back(handle);
  }

  size_t live() const { return values_.size() - free_.size(); }

  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& value : values_)
      if (value) visit(*value);
  }

 private:
  std::vector<std::optional<T>> values_;
  std::vector<int32_t> free_;
};
