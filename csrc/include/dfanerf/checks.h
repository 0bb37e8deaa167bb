// Checks of tensor arguments; every failure names the argument, what was found and what was expected.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "dfanerf/tensor.h"

namespace dfanerf {

constexpr int64_t kAny = -1;  // an extent that may have any size

template <typename T>
void check_alignment(const TensorView& view, const char* what) {
  if (reinterpret_cast<uintptr_t>(view.data) % alignof(T) && view.numel() > 0)
    throw ShapeError(std::string(what) + ": is not aligned to its items; copy it first");
}

// Checks dtype, device, shape (kAny allows any extent), contiguity and alignment, and returns the typed pointer.
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
  check_alignment<T>(view, what);
  return view.as<T>();
}

// The bytes from the first to behind the last that a view reaches, whatever the signs of its strides.
inline std::pair<const char*, const char*> reach(const TensorView& view, int64_t item_size) {
  const auto* first = static_cast<const char*>(view.data);
  const char* last = first + item_size;
  for (int d = 0; d < view.ndim; ++d) {
    const int64_t way = (view.shape[d] - 1) * view.strides[d] * item_size;
    (way < 0 ? first : last) += way;
  }
  return {first, last};
}

// What is written must overlap neither what is read nor another output: a kernel's checks of its inputs would not hold.
// Null pointers stand for arguments left out.
inline void check_apart(std::initializer_list<const TensorView*> outputs,
                        std::initializer_list<const TensorView*> inputs = {}) {
  const auto apart = [](const TensorView* a, const TensorView* b) {
    if (a == nullptr || b == nullptr || a->numel() == 0 || b->numel() == 0 || a->device != b->device) return true;
    const auto [a_first, a_last] = reach(*a, item_size(a->dtype));
    const auto [b_first, b_last] = reach(*b, item_size(b->dtype));
    return a_last <= b_first || b_last <= a_first;
  };
  for (const auto* out = outputs.begin(); out != outputs.end(); ++out) {
    const bool alone = std::all_of(outputs.begin(), out, [&](const TensorView* other) { return apart(*out, other); }) &&
                       std::all_of(inputs.begin(), inputs.end(), [&](const TensorView* in) { return apart(*out, in); });
    if (!alone) throw ShapeError("an output overlaps an input or another output in memory");
  }
}

}  // namespace dfanerf
