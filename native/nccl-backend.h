// The one function of the optional library: process-group.cc finds it by name, so that the addon itself needs no CUDA.
#pragma once

#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

using MakeNcclBackend = c10::intrusive_ptr<c10d::Backend> (*)(const c10::intrusive_ptr<c10d::Store>&, int rank, int size,
                                                              std::chrono::milliseconds timeout);
constexpr const char* kMakeNcclBackend = "vl_reward_make_nccl_backend";
