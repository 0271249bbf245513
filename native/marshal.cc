#include "marshal.h"

#include <array>
#include <cmath>
#include <sstream>

namespace {

struct NamedDtype {
  const char* name;
  at::ScalarType dtype;
};
constexpr std::array<NamedDtype, 10> kDtypes{{{"float32", at::kFloat},
                                              {"float64", at::kDouble},
                                              {"bfloat16", at::kBFloat16},
                                              {"float16", at::kHalf},
                                              {"int64", at::kLong},
                                              {"int32", at::kInt},
                                              {"int16", at::kShort},
                                              {"int8", at::kChar},
                                              {"uint8", at::kByte},
                                              {"bool", at::kBool}}};

std::string kindOf(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_number: return "the number " + value.ToString().Utf8Value();
    case napi_string: return "the string \"" + value.As<Napi::String>().Utf8Value() + "\"";
    case napi_object: return value.IsArray() ? "an array" : "an object";
    default: return "a value of another kind";
  }
}

[[noreturn]] void refuse(const std::string& wanted, const Napi::Value& value) {
  throw std::invalid_argument("expected " + wanted + ", got " + kindOf(value));
}

double toNumber(const Napi::Value& value) {
  if (!value.IsNumber()) refuse("a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

bool isWhole(double number) { return std::floor(number) == number && std::abs(number) <= 9007199254740991.0; }

int64_t toInteger(const Napi::Value& value) {
  double number = toNumber(value);
  if (!isWhole(number)) refuse("an integer", value);
  return static_cast<int64_t>(number);
}

int32_t toHandle(const Napi::Value& value, const char* what) {
  if (!value.IsNumber()) refuse(what, value);
  return value.As<Napi::Number>().Int32Value();
}

bool toBoolean(const Napi::Value& value) {
  if (!value.IsBoolean()) refuse("a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

std::string toText(const Napi::Value& value) {
  if (!value.IsString()) refuse("a string", value);
  return value.As<Napi::String>().Utf8Value();
}

at::Scalar toScalar(const Napi::Value& value) {
  if (value.IsBoolean()) return at::Scalar(value.As<Napi::Boolean>().Value());
  double number = toNumber(value);
  bool negativeZero = number == 0 && std::signbit(number);  // which no integer is
  return isWhole(number) && !negativeZero ? at::Scalar(static_cast<int64_t>(number)) : at::Scalar(number);
}

at::MemoryFormat memoryFormatFromName(const std::string& name) {
  if (name == "contiguous") return at::MemoryFormat::Contiguous;
  if (name == "preserve") return at::MemoryFormat::Preserve;
  if (name == "channels_last") return at::MemoryFormat::ChannelsLast;
  throw std::invalid_argument("unknown memory format \"" + name + "\"");
}

template <typename T, typename Convert>
c10::List<T> toList(const Napi::Value& value, Convert convert) {
  if (!value.IsArray()) refuse("an array", value);
  auto array = value.As<Napi::Array>();
  c10::List<T> list;
  list.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(convert(array.Get(i)));
  return list;
}

c10::IValue listToIValue(Handles& handles, const c10::TypePtr& element, const Napi::Value& value) {
  auto tensor = [&](const Napi::Value& item) { return handles.tensors.at(toHandle(item, "a tensor")); };
  switch (element->kind()) {
    case c10::TypeKind::TensorType: return toList<at::Tensor>(value, tensor);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return toList<int64_t>(value, toInteger);
    case c10::TypeKind::FloatType: return toList<double>(value, toNumber);
    case c10::TypeKind::BoolType: return toList<bool>(value, toBoolean);
    case c10::TypeKind::StringType: return toList<std::string>(value, toText);
    case c10::TypeKind::OptionalType: {
      const auto& inner = element->castRaw<c10::OptionalType>()->getElementType();
      if (inner->kind() != c10::TypeKind::TensorType) break;
      return toList<std::optional<at::Tensor>>(value, [&](const Napi::Value& item) -> std::optional<at::Tensor> {
        if (item.IsNull() || item.IsUndefined()) return std::nullopt;
        return tensor(item);
      });
    }
    default: break;
  }
  throw std::invalid_argument("lists of " + element->str() + " are not supported");
}

c10::IValue typedToIValue(Handles& handles, const c10::TypePtr& type, const Napi::Value& value) {
  switch (type->kind()) {
    case c10::TypeKind::OptionalType:
      if (value.IsNull() || value.IsUndefined()) return c10::IValue();
      return typedToIValue(handles, type->castRaw<c10::OptionalType>()->getElementType(), value);
    case c10::TypeKind::TensorType: return handles.tensors.at(toHandle(value, "a tensor"));
    case c10::TypeKind::ListType:
      return listToIValue(handles, type->castRaw<c10::ListType>()->getElementType(), value);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: return toInteger(value);
    case c10::TypeKind::FloatType: return toNumber(value);
    case c10::TypeKind::BoolType: return toBoolean(value);
    case c10::TypeKind::NumberType: return toScalar(value);
    case c10::TypeKind::StringType: return toText(value);
    case c10::TypeKind::ScalarTypeType: return static_cast<int64_t>(dtypeFromName(toText(value)));
    case c10::TypeKind::DeviceObjType: return c10::Device(toText(value));
    case c10::TypeKind::MemoryFormatType: return static_cast<int64_t>(memoryFormatFromName(toText(value)));
    case c10::TypeKind::LayoutType:
      if (toText(value) != "strided") refuse("\"strided\"", value);
      return static_cast<int64_t>(at::kStrided);
    case c10::TypeKind::AnyType:
      if (value.IsString()) return toText(value);
      if (value.IsBoolean()) return toBoolean(value);
      return toScalar(value);
    case c10::TypeKind::GeneratorType: return handles.generators.at(toHandle(value, "a generator"));
    default: throw std::invalid_argument("arguments of type " + type->str() + " are not supported");
  }
}

}  // namespace

at::ScalarType dtypeFromName(const std::string& name) {
  for (const auto& entry : kDtypes)
    if (name == entry.name) return entry.dtype;
  throw std::invalid_argument("unknown dtype \"" + name + "\"");
}

std::string dtypeName(at::ScalarType dtype) {
  for (const auto& entry : kDtypes)
    if (dtype == entry.dtype) return entry.name;
  return c10::toString(dtype);
}

std::string shortMessage(const std::exception& error) {
  if (auto* torch = dynamic_cast<const c10::Error*>(&error)) return torch->what_without_backtrace();
  return error.what();
}

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  std::ostringstream text;
  text << dtypeName(tensor.scalar_type()) << tensor.sizes();
  if (!tensor.device().is_cpu()) text << " on " << tensor.device();
  return text.str();
}

c10::IValue toIValue(Handles& handles, const c10::Argument& argument, const Napi::Value& value) {
  if (value.IsUndefined() && argument.default_value()) return *argument.default_value();
  try {
    // real_type() tells a dtype or a device from the plain int that type() shows for it.
    return typedToIValue(handles, argument.real_type(), value);
  } catch (const std::exception& error) {
    throw std::invalid_argument("argument \"" + argument.name() + "\": " + shortMessage(error));
  }
}

Napi::Value toJavaScript(Napi::Env env, Handles& handles, const c10::IValue& value) {
  if (value.isTensor()) {
    if (!value.toTensor().defined()) return env.Null();
    return Napi::Number::New(env, handles.tensors.add(value.toTensor()));
  }
  if (value.isInt()) return Napi::Number::New(env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isScalar()) return Napi::Number::New(env, value.toScalar().toDouble());
  if (value.isNone()) return env.Null();
  if (value.isTuple() || value.isList()) {
    c10::ArrayRef<c10::IValue> elements;
    c10::List<c10::IValue> list = value.isList() ? value.toList() : c10::List<c10::IValue>(c10::AnyType::get());
    std::vector<c10::IValue> copied;
    if (value.isTuple()) {
      elements = value.toTupleRef().elements();
    } else {
      for (const c10::IValue& element : list) copied.push_back(element);
      elements = copied;
    }
    auto array = Napi::Array::New(env, elements.size());
    for (size_t i = 0; i < elements.size(); i++) array.Set(i, toJavaScript(env, handles, elements[i]));
    return array;
  }
  throw std::invalid_argument("results of type " + value.tagKind() + " are not supported");
}

std::vector<int64_t> toIntegers(const Napi::Value& value) { return toList<int64_t>(value, toInteger).vec(); }
