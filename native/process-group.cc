#define USE_C10D_GLOO

#include "process-group.h"

#include <dlfcn.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "marshal.h"
#include "nccl-backend.h"

namespace {

using Milliseconds = std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;
using GroupPointer = c10::intrusive_ptr<c10d::ProcessGroup>;

// What one JavaScript thread holds. The registry of c10d has weak pointers only.
struct Distributed {
  Slots<StorePointer> stores;
  std::map<std::string, GroupPointer> groups;

  ~Distributed() {
    for (auto& [name, group] : groups) c10d::unregister_process_group(name);
  }
};

MakeNcclBackend makeNcclBackend = nullptr;

std::string text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }
Milliseconds milliseconds(const Napi::Value& value) { return Milliseconds(value.As<Napi::Number>().Int64Value()); }

std::vector<std::string> texts(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<std::string> list;
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(text(array.Get(i)));
  return list;
}

StorePointer& store(Distributed& own, const Napi::Value& value) {
  return own.stores.at(value.As<Napi::Number>().Int32Value());
}

// openStore(host, port, whether to serve it, how long to try in ms, prefix of its keys) -> store. Blocks until the
// server is there.
Napi::Value openStore(Distributed& own, const Napi::CallbackInfo& info) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
  options.isServer = info[2].As<Napi::Boolean>();
  options.waitWorkers = false;
  options.timeout = milliseconds(info[3]);
  // Node has a libuv of its own, whose functions would take the place of those that libtorch was compiled with.
  options.useLibUV = false;
  auto opened = c10::make_intrusive<c10d::TCPStore>(text(info[0]), options);
  auto prefixed = c10::make_intrusive<c10d::PrefixStore>(text(info[4]), std::move(opened));
  return Napi::Number::New(info.Env(), own.stores.add(std::move(prefixed)));
}

// localStore() -> a store for this process alone
Napi::Value localStore(Distributed& own, const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), own.stores.add(c10::make_intrusive<c10d::HashStore>()));
}

Napi::Value closeStore(Distributed& own, const Napi::CallbackInfo& info) {
  own.stores.remove(info[0].As<Napi::Number>().Int32Value());
  return info.Env().Undefined();
}

// storeSet(store, key, text)
Napi::Value storeSet(Distributed& own, const Napi::CallbackInfo& info) {
  store(own, info[0])->set(text(info[1]), text(info[2]));
  return info.Env().Undefined();
}

// storeGet(store, key) -> text, or null where it is not set
Napi::Value storeGet(Distributed& own, const Napi::CallbackInfo& info) {
  auto key = text(info[1]);
  auto& from = store(own, info[0]);
  if (!from->check({key})) return info.Env().Null();
  return Napi::String::New(info.Env(), from->get_to_str(key));
}

// storeAdd(store, key, amount) -> the sum so far
Napi::Value storeAdd(Distributed& own, const Napi::CallbackInfo& info) {
  auto sum = store(own, info[0])->add(text(info[1]), info[2].As<Napi::Number>().Int64Value());
  return Napi::Number::New(info.Env(), static_cast<double>(sum));
}

// storeWait(store, keys, ms) -> the keys that are not set by then. By asking again and again: Store::wait() would say
// which were missing only in words, and warn on standard error.
Napi::Value storeWait(Distributed& own, const Napi::CallbackInfo& info) {
  auto& from = store(own, info[0]);
  auto missing = texts(info[1]);
  auto end = std::chrono::steady_clock::now() + milliseconds(info[2]);
  for (auto pause = Milliseconds(2);; pause = std::min(2 * pause, Milliseconds(100))) {
    std::erase_if(missing, [&](const std::string& key) { return from->check({key}); });
    if (missing.empty() || std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(pause);
  }
  auto array = Napi::Array::New(info.Env(), missing.size());
  for (size_t i = 0; i < missing.size(); i++) array.Set(i, missing[i]);
  return array;
}

c10::intrusive_ptr<c10d::Backend> makeGloo(const StorePointer& store, int rank, int size, Milliseconds timeout,
                                           const std::string& address) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  if (address.empty()) options->devices = c10d::ProcessGroupGloo::Options::create_default(timeout)->devices;
  else options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(address)};
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
}

// createGroup(name, backend, store, rank, size, ms that a collective may take, address to listen on or ""): blocks until
// all ranks have come. "gloo" is for tensors in main memory; "nccl" is for those on a GPU, and gloo beside it for others.
Napi::Value createGroup(Distributed& own, const Napi::CallbackInfo& info) {
  using Group = c10d::ProcessGroup;
  auto name = text(info[0]);
  bool nccl = text(info[1]) == "nccl";
  auto& shared = store(own, info[2]);
  int rank = info[3].As<Napi::Number>().Int32Value();
  int size = info[4].As<Napi::Number>().Int32Value();
  auto timeout = milliseconds(info[5]);
  if (nccl && !makeNcclBackend) throw std::runtime_error("NCCL is not loaded");

  auto part = [&](const char* prefix) { return c10::make_intrusive<c10d::PrefixStore>(name + prefix, shared); };
  auto group = c10::make_intrusive<Group>(shared, rank, size);
  if (!nccl || size > 1)  // gloo listens on the network, which one process need not have
    group->setBackend(c10::kCPU, Group::GLOO, makeGloo(part("/gloo"), rank, size, timeout, text(info[6])));
  if (nccl) group->setBackend(c10::kCUDA, Group::NCCL, makeNcclBackend(part("/nccl"), rank, size, timeout));
  group->setDefaultBackend(nccl ? Group::NCCL : Group::GLOO);
  group->setGroupName(name);
  c10d::register_process_group(name, group);
  own.groups[name] = std::move(group);
  return info.Env().Undefined();
}

// setGroupTimeout(name, ms): for collectives that begin from now on
Napi::Value setGroupTimeout(Distributed& own, const Napi::CallbackInfo& info) {
  own.groups.at(text(info[0]))->setTimeout(milliseconds(info[1]));
  return info.Env().Undefined();
}

// destroyGroup(name): after its last collective has ended
Napi::Value destroyGroup(Distributed& own, const Napi::CallbackInfo& info) {
  auto name = text(info[0]);
  c10d::unregister_process_group(name);
  own.groups.erase(name);
  return info.Env().Undefined();
}

// loadNccl(path of the library that setup made of nccl-backend.cc). CUDA's libraries have to be loaded.
Napi::Value loadNccl(Distributed&, const Napi::CallbackInfo& info) {
  void* library = dlopen(text(info[0]).c_str(), RTLD_NOW | RTLD_LOCAL);
  void* found = library ? dlsym(library, kMakeNcclBackend) : nullptr;
  if (!found) throw std::runtime_error(dlerror());
  makeNcclBackend = reinterpret_cast<MakeNcclBackend>(found);
  return info.Env().Undefined();
}

// endProcess(exit code): at once, though another thread waits in a collective that will never end
Napi::Value endProcess(Distributed&, const Napi::CallbackInfo& info) {
  _exit(info[0].As<Napi::Number>().Int32Value());
}

using Body = Napi::Value (*)(Distributed&, const Napi::CallbackInfo&);

template <Body body>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return body(*static_cast<Distributed*>(info.Data()), info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(info.Env(), shortMessage(error));
  }
}

}  // namespace

void exportProcessGroups(Napi::Env env, Napi::Object exports) {
  auto* own = new Distributed;
  env.AddCleanupHook([](Distributed* ended) { delete ended; }, own);
  auto add = [&](const char* name, auto* function) {
    exports.Set(name, Napi::Function::New(env, function, name, own));
  };
  add("openStore", guarded<openStore>);
  add("localStore", guarded<localStore>);
  add("closeStore", guarded<closeStore>);
  add("storeSet", guarded<storeSet>);
  add("storeGet", guarded<storeGet>);
  add("storeAdd", guarded<storeAdd>);
  add("storeWait", guarded<storeWait>);
  add("createGroup", guarded<createGroup>);
  add("setGroupTimeout", guarded<setGroupTimeout>);
  add("destroyGroup", guarded<destroyGroup>);
  add("loadNccl", guarded<loadNccl>);
  add("endProcess", guarded<endProcess>);
}
