// Between JavaScript values and the dispatcher's IValues, led by an operator's own schema.
//
//   schema type                          JavaScript
//   Tensor, Generator                    handle (integer)
//   int, SymInt, float, bool             number, boolean
//   Scalar                               boolean; a whole number is an integer, any other number a double
//   str, ScalarType, Device,
//   MemoryFormat, Layout                 string
//   Any                                  string, boolean or number, as it is
//   T[]                                  array
//   T?                                   as T, or null / undefined
//   a trailing argument with a default   may be left out or undefined
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <napi.h>

#include "slots.h"

struct Handles {
  Slots<at::Tensor> tensors;
  Slots<at::Generator> generators;
};

at::ScalarType dtypeFromName(const std::string& name);
std::string dtypeName(at::ScalarType dtype);

// Libtorch's own words, without the C++ stack that follows them.
std::string shortMessage(const std::exception& error);

// -> e.g. "float32[2, 3]"
std::string describe(const at::Tensor& tensor);

// Throws std::invalid_argument where the value does not fit the argument's type.
c10::IValue toIValue(Handles& handles, const c10::Argument& argument, const Napi::Value& value);

// Tensors become new handles; tuples and lists become arrays; an undefined tensor becomes null.
Napi::Value toJavaScript(Napi::Env env, Handles& handles, const c10::IValue& value);

std::vector<int64_t> toIntegers(const Napi::Value& value);
