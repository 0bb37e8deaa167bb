// Checks of tensor arguments; every failure names the argument, what was found and what was expected.
#pragma once

#include <initializer_list>
#include <string>

#include "dfanerf/tensor.h"

namespace dfanerf {

constexpr int64_t kAny = -1;  // an extent that may have any size

// Checks dtype, device, shape (kAny allows any extent) and contiguity, and returns the typed pointer.
template <typename T>
T* checked(const TensorView& view, const char* what, std::initializer_list<int64_t> shape,
           DeviceType device = DeviceType::cpu) {
  const std::string who = std::string(what) + ": ";
  if (view.dtype != dtype_of<T>::value)
    throw ShapeError(who + "dtype " + name(view.dtype) + ", expected " + name(dtype_of<T>::value));
  if (view.device != device) throw ShapeError(who + "lies on " + name(view.device) + ", expected " + name(device));
  bool same = view.ndim == static_cast<int>(shape.size());
  std::string wanted = "(";
  int d = 0;
  for (int64_t extent : shape) {
    if (same && extent != kAny && view.shape[d] != extent) same = false;
    if (d) wanted += ", ";
    wanted += extent == kAny ? "any" : std::to_string(extent);
    ++d;
  }
  if (!same) throw ShapeError(who + "shape " + shape_text(view) + ", expected " + wanted + ")");
  if (!view.contiguous()) throw ShapeError(who + "is not contiguous; call .contiguous() first");
  return view.as<T>();
}

}  // namespace dfanerf
