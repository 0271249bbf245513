// The door to libtorch: tensors, the dispatcher, autograd and memory. It resolves any operator by name and marshals
// arguments by the operator's schema; it knows nothing of models. Every JavaScript thread that loads it has a table of
// its own. src/torch/native.ts describes the exported functions' types.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <napi.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "marshal.h"
#include "process-group.h"

namespace {

class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
    struct stat status {};
    fstat(file, &status);
    size_ = static_cast<size_t>(status.st_size);
    // Private and writable: writing to a mapped tensor changes a copy of the page, never the file. mmap() refuses zero
    // bytes.
    address_ = size_ == 0 ? nullptr : mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    int reason = errno;
    close(file);
    if (address_ == MAP_FAILED) throw std::runtime_error("cannot map " + path + ": " + std::strerror(reason));
  }
  ~Mapping() {
    if (address_) munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  size_t size() const { return size_; }
  char* address() const { return static_cast<char*>(address_); }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

// The shape may come from a damaged file: a size that wraps around would pass every later check.
size_t bytesOf(const std::vector<int64_t>& shape, size_t itemSize) {
  size_t bytes = itemSize;
  bool overflow = false;
  for (int64_t length : shape) {
    if (length < 0) throw std::invalid_argument("a shape cannot have the length " + std::to_string(length));
    overflow |= __builtin_mul_overflow(bytes, static_cast<size_t>(length), &bytes);
  }
  if (overflow) throw std::invalid_argument("the shape is larger than any memory");
  return bytes;
}

struct Operator {
  c10::OperatorHandle handle;
  const c10::FunctionSchema& schema;
};

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
    keepBitsOnIntel();
    countBeforeAnyIsSet();
    DefineAddon(exports, {
                             method<&Addon::resolve>("resolve"),
                             method<&Addon::schema>("schema"),
                             method<&Addon::call>("call"),
                             method<&Addon::fromBytes>("fromBytes"),
                             method<&Addon::readInto>("readInto"),
                             method<&Addon::mapFile>("mapFile"),
                             method<&Addon::shape>("shape"),
                             method<&Addon::dtype>("dtype"),
                             method<&Addon::device>("device"),
                             method<&Addon::free>("free"),
                             method<&Addon::liveHandles>("liveHandles"),
                             method<&Addon::liveBytes>("liveBytes"),
                             method<&Addon::createGenerator>("createGenerator"),
                             method<&Addon::freeGenerator>("freeGenerator"),
                             method<&Addon::setRequiresGrad>("setRequiresGrad"),
                             method<&Addon::requiresGrad>("requiresGrad"),
                             method<&Addon::gradient>("gradient"),
                             method<&Addon::clearGradient>("clearGradient"),
                             method<&Addon::backward>("backward"),
                             method<&Addon::setGradEnabled>("setGradEnabled"),
                             method<&Addon::threads>("threads"),
                             method<&Addon::setThreads>("setThreads"),
                             method<&Addon::keepMemory>("keepMemory"),
                             method<&Addon::standardThreads>("standardThreads"),
                             method<&Addon::loadCuda>("loadCuda"),
                             method<&Addon::deviceMemory>("deviceMemory"),
                         });
    exportProcessGroups(env, exports);
  }

 private:
  using Method = Napi::Value (Addon::*)(const Napi::CallbackInfo&);

  // Every exported function passes here, so that no C++ exception crosses into JavaScript unread.
  template <Method body>
  Napi::Value guarded(const Napi::CallbackInfo& info) {
    try {
      return (this->*body)(info);
    } catch (const Napi::Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Napi::Error::New(info.Env(), shortMessage(error));
    }
  }

  template <Method body>
  static Napi::ClassPropertyDescriptor<Addon> method(const char* name) {
    return Addon::InstanceMethod<&Addon::guarded<body>>(name);
  }

  at::Tensor& tensor(const Napi::Value& value) { return handles_.tensors.at(value.As<Napi::Number>().Int32Value()); }

  Napi::Value added(Napi::Env env, at::Tensor value) {
    return Napi::Number::New(env, handles_.tensors.add(std::move(value)));
  }

  std::vector<at::Tensor> tensors(const Napi::Value& value) {
    std::vector<at::Tensor> list;
    if (value.IsUndefined()) return list;
    auto array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++) {
      Napi::Value item = array.Get(i);
      list.push_back(item.IsNull() ? at::Tensor() : tensor(item));
    }
    return list;
  }

  // --- operators ---

  // resolve(name, overload) -> a number for call()
  Napi::Value resolve(const Napi::CallbackInfo& info) {
    auto handle = find(info);
    operators_.push_back({handle, handle.schema()});
    return Napi::Number::New(info.Env(), static_cast<double>(operators_.size() - 1));
  }

  // schema(name, overload) -> the live schema as text
  Napi::Value schema(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), c10::toString(find(info).schema()));
  }

  static c10::OperatorHandle find(const Napi::CallbackInfo& info) {
    auto name = info[0].As<Napi::String>().Utf8Value();
    auto overload = info[1].As<Napi::String>().Utf8Value();
    auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    if (found) return *found;
    throw std::invalid_argument("this libtorch has no operator " + name + (overload.empty() ? "" : "." + overload));
  }

  // call(operator, ...arguments in the schema's order) -> result(s)
  Napi::Value call(const Napi::CallbackInfo& info) {
    const Operator& op = operators_.at(info[0].As<Napi::Number>().Uint32Value());
    const auto& arguments = op.schema.arguments();
    torch::jit::Stack stack;
    stack.reserve(arguments.size());
    try {
      if (info.Length() - 1 > arguments.size())
        throw std::invalid_argument("expected at most " + std::to_string(arguments.size()) + " arguments, got " +
                                    std::to_string(info.Length() - 1));
      // A short stack would be read past its end: every argument stands on it, defaults included.
      for (size_t i = 0; i < arguments.size(); i++) stack.push_back(toIValue(handles_, arguments[i], info[i + 1]));
      op.handle.callBoxed(stack);
      if (stack.empty()) return info.Env().Undefined();
      if (stack.size() == 1) return toJavaScript(info.Env(), handles_, stack[0]);
      auto results = Napi::Array::New(info.Env(), stack.size());
      for (size_t i = 0; i < stack.size(); i++) results.Set(i, toJavaScript(info.Env(), handles_, stack[i]));
      return results;
    } catch (const std::exception& error) {
      throw Napi::Error::New(info.Env(), failure(op, info, error));
    }
  }

  // "aten::mm(self: float32[2, 3], mat2: float32[4, 5]): <libtorch's words>"
  std::string failure(const Operator& op, const Napi::CallbackInfo& info, const std::exception& error) {
    std::string text = toString(op.schema.operator_name()) + "(";
    std::string separator;
    const auto& arguments = op.schema.arguments();
    for (size_t i = 0; i < arguments.size() && i + 1 < info.Length(); i++) {
      std::string shapes = tensorShapes(arguments[i], info[i + 1]);
      if (shapes.empty()) continue;
      text += separator + arguments[i].name() + ": " + shapes;
      separator = ", ";
    }
    return text + "): " + shortMessage(error);
  }

  std::string tensorShapes(const c10::Argument& argument, const Napi::Value& value) {
    try {
      auto type = argument.real_type();
      if (auto* optional = type->castRaw<c10::OptionalType>()) type = optional->getElementType();
      if (value.IsNumber() && type->kind() == c10::TypeKind::TensorType) return describe(tensor(value));
      auto* list = type->castRaw<c10::ListType>();
      if (!list || list->getElementType()->kind() != c10::TypeKind::TensorType || !value.IsArray()) return "";
      std::string text;
      for (const at::Tensor& item : tensors(value)) text += (text.empty() ? "[" : ", ") + describe(item);
      return text + "]";
    } catch (const std::exception&) {
      return "";  // a dead handle: the error itself names it
    }
  }

  // --- tensors ---

  // fromBytes(typed array, shape, dtype, device) -> tensor; one copy, and one more to a device that is not the CPU
  Napi::Value fromBytes(const Napi::CallbackInfo& info) {
    auto source = info[0].As<Napi::TypedArray>();
    auto shape = toIntegers(info[1]);
    auto options = at::TensorOptions().dtype(dtypeFromName(info[2].As<Napi::String>()));
    size_t wanted = bytesOf(shape, options.dtype().itemsize());
    if (source.ByteLength() != wanted)
      throw std::invalid_argument("the shape needs " + std::to_string(wanted) + " bytes, the array has " +
                                  std::to_string(source.ByteLength()));
    c10::Device device(info[3].As<Napi::String>().Utf8Value());
    if (wanted == 0) return added(info.Env(), at::empty(shape, options.device(device)));
    auto* bytes = static_cast<char*>(source.ArrayBuffer().Data()) + source.ByteOffset();
    at::Tensor view = at::from_blob(bytes, shape, options);
    if (device.is_cpu()) return added(info.Env(), view.clone());
    // From pinned memory the copy takes its place in the device's queue, and nobody waits for it; libtorch gives the
    // buffer to no one else before it is done.
    at::Tensor pinned = at::empty(shape, options.pinned_memory(true)).copy_(view);
    return added(info.Env(), pinned.to(device, pinned.scalar_type(), /*non_blocking=*/true));
  }

  // readInto(tensor, typed array of the same dtype and number of elements); one copy
  Napi::Value readInto(const Napi::CallbackInfo& info) {
    at::NoGradGuard noGrad;
    at::Tensor& source = tensor(info[0]);
    auto target = info[1].As<Napi::TypedArray>();
    if (target.ByteLength() != source.nbytes())
      throw std::invalid_argument(describe(source) + " does not fit an array of " +
                                  std::to_string(target.ByteLength()) + " bytes");
    if (source.numel() == 0) return info.Env().Undefined();
    auto* bytes = static_cast<char*>(target.ArrayBuffer().Data()) + target.ByteOffset();
    at::from_blob(bytes, source.sizes(), at::TensorOptions().dtype(source.scalar_type())).copy_(source);
    return info.Env().Undefined();
  }

  // mapFile(path, offsets, shapes, dtypes) -> tensors over the mapped bytes, which live as long as one of them does
  Napi::Value mapFile(const Napi::CallbackInfo& info) {
    auto mapping = std::make_shared<Mapping>(info[0].As<Napi::String>().Utf8Value());
    auto offsets = toIntegers(info[1]);
    auto shapes = info[2].As<Napi::Array>();
    auto dtypes = info[3].As<Napi::Array>();
    std::vector<at::Tensor> views;
    for (uint32_t i = 0; i < offsets.size(); i++) {
      auto shape = toIntegers(shapes.Get(i));
      auto options = at::TensorOptions().dtype(dtypeFromName(dtypes.Get(i).As<Napi::String>()));
      size_t bytes = bytesOf(shape, options.dtype().itemsize());
      size_t offset = static_cast<size_t>(offsets[i]);
      if (offsets[i] < 0 || offset > mapping->size() || bytes > mapping->size() - offset)
        throw std::invalid_argument(std::to_string(bytes) + " bytes at " + std::to_string(offsets[i]) +
                                    " lie outside the file's " + std::to_string(mapping->size()));
      char* address = mapping->address() + offset;
      if (bytes == 0) {
        views.push_back(at::empty(shape, options));
      } else if (reinterpret_cast<uintptr_t>(address) % options.dtype().itemsize() != 0) {
        // Kernels may assume alignment; only files with an odd header length come here.
        at::Tensor copy = at::empty(shape, options);
        std::memcpy(copy.data_ptr(), address, bytes);
        views.push_back(copy);
      } else {
        views.push_back(at::from_blob(address, shape, [mapping](void*) {}, options));
      }
    }
    auto handles = Napi::Array::New(info.Env(), views.size());
    for (size_t i = 0; i < views.size(); i++) handles.Set(i, added(info.Env(), views[i]));
    return handles;
  }

  Napi::Value shape(const Napi::CallbackInfo& info) {
    auto sizes = tensor(info[0]).sizes();
    auto array = Napi::Array::New(info.Env(), sizes.size());
    for (size_t i = 0; i < sizes.size(); i++) array.Set(i, Napi::Number::New(info.Env(), sizes[i]));
    return array;
  }

  Napi::Value dtype(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), dtypeName(tensor(info[0]).scalar_type()));
  }

  Napi::Value device(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), tensor(info[0]).device().str());
  }

  // --- memory ---

  // free(handles)
  Napi::Value free(const Napi::CallbackInfo& info) {
    auto array = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++)
      handles_.tensors.remove(array.Get(i).As<Napi::Number>().Int32Value());
    return info.Env().Undefined();
  }

  Napi::Value liveHandles(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(handles_.tensors.live()));
  }

  // Bytes of the distinct storages behind all live handles; mapped files count too.
  Napi::Value liveBytes(const Napi::CallbackInfo& info) {
    std::unordered_set<const void*> seen;
    double bytes = 0;
    handles_.tensors.each([&](const at::Tensor& value) {
      auto storage = value.storage();
      if (seen.insert(storage.unsafeGetStorageImpl()).second) bytes += static_cast<double>(storage.nbytes());
    });
    return Napi::Number::New(info.Env(), bytes);
  }

  // --- random numbers ---

  Napi::Value createGenerator(const Napi::CallbackInfo& info) {
    auto seed = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    return Napi::Number::New(info.Env(), handles_.generators.add(at::detail::createCPUGenerator(seed)));
  }

  Napi::Value freeGenerator(const Napi::CallbackInfo& info) {
    handles_.generators.remove(info[0].As<Napi::Number>().Int32Value());
    return info.Env().Undefined();
  }

  // --- autograd ---

  Napi::Value setRequiresGrad(const Napi::CallbackInfo& info) {
    tensor(info[0]).set_requires_grad(info[1].As<Napi::Boolean>());
    return info.Env().Undefined();
  }

  Napi::Value requiresGrad(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), tensor(info[0]).requires_grad());
  }

  // gradient(leaf) -> what backward() has accumulated, or null
  Napi::Value gradient(const Napi::CallbackInfo& info) {
    const at::Tensor& value = tensor(info[0]).grad();
    return value.defined() ? added(info.Env(), value) : info.Env().Null();
  }

  Napi::Value clearGradient(const Napi::CallbackInfo& info) {
    tensor(info[0]).mutable_grad().reset();
    return info.Env().Undefined();
  }

  // backward(roots, gradients of the roots or undefined for scalars, keep the graph)
  Napi::Value backward(const Napi::CallbackInfo& info) {
    torch::autograd::backward(tensors(info[0]), tensors(info[1]), info[2].ToBoolean().Value());
    return info.Env().Undefined();
  }

  // setGradEnabled(on) -> what it was
  Napi::Value setGradEnabled(const Napi::CallbackInfo& info) {
    bool before = at::GradMode::is_enabled();
    at::GradMode::set_enabled(info[0].As<Napi::Boolean>());
    return Napi::Boolean::New(info.Env(), before);
  }

  // --- threads and devices ---

  // How many threads operators use that this JavaScript thread calls. A JavaScript thread that has set none has the count
  // that was set last on any.
  Napi::Value threads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), at::get_num_threads()); }

  Napi::Value setThreads(const Napi::CallbackInfo& info) {
    at::set_num_threads(info[0].As<Napi::Number>().Int32Value());
    return info.Env().Undefined();
  }

  // From now on freed memory stays with the process, and large pieces come from it too: without this every large tensor is
  // fresh from the system, which fills each of its pages with zeros first. To be called before other threads begin, as
  // each would have a part of memory of its own. Does nothing where the C library is not glibc.
  Napi::Value keepMemory(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_TOP_PAD, 256 << 20);
#endif
    return info.Env().Undefined();
  }

  // What libtorch takes by itself, whatever has been set since.
  Napi::Value standardThreads(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), countBeforeAnyIsSet());
  }

  // loadCuda(path of libtorch_cuda) -> number of devices. It must come before any CUDA query: libtorch remembers the
  // hooks that it finds at the first one.
  Napi::Value loadCuda(const Napi::CallbackInfo& info) {
    auto path = info[0].As<Napi::String>().Utf8Value();
    if (!dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) throw std::runtime_error(dlerror());
    return Napi::Number::New(info.Env(), at::detail::getCUDAHooks().deviceCount());
  }

  // deviceMemory(device, not the CPU) -> [free, total] bytes, as the driver has them
  Napi::Value deviceMemory(const Napi::CallbackInfo& info) {
    c10::Device device(info[0].As<Napi::String>().Utf8Value());
    at::globalContext().lazyInitDevice(device.type());
    auto [free, total] = c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
    auto sizes = Napi::Array::New(info.Env(), 2);
    sizes.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(free)));
    sizes.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(total)));
    return sizes;
  }

  // On Intel's processors MKL sums matrix products in an order that follows from the number of threads, unless its strict
  // mode is asked for; on others it is the strict mode that does so. MKL looks at its first call. What the user has set stays.
  static void keepBitsOnIntel() {
#if defined(__x86_64__)
    static const bool done = [] {
      if (!__builtin_cpu_is("intel")) return true;
      bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
      return setenv("MKL_CBWR", wide ? "AVX512,STRICT" : "AVX2,STRICT", 0) == 0;
    }();
    (void)done;
#endif
  }

  static int countBeforeAnyIsSet() {
    static const int count = at::get_num_threads();
    return count;
  }

  Handles handles_;
  std::vector<Operator> operators_;
};

}  // namespace

NODE_API_ADDON(Addon)
