// Views of memory that somebody else owns: the only form in which data crosses into csrc. No torch, no Python.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace dfanerf {

enum class DType : uint8_t { f32, f16, bf16, f64, u8, i32, i64, u32, boolean };
enum class DeviceType : uint8_t { cpu, cuda };

inline const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "float32";
    case DType::f16: return "float16";
    case DType::bf16: return "bfloat16";
    case DType::f64: return "float64";
    case DType::u8: return "uint8";
    case DType::i32: return "int32";
    case DType::i64: return "int64";
    case DType::u32: return "uint32";
    case DType::boolean: return "bool";
  }
  return "unknown";
}

inline int64_t item_size(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::u8:
    case DType::boolean: return 1;
  }
  return 1;
}

inline const char* name(DeviceType device) {
  return device == DeviceType::cpu ? "cpu" : "cuda";
}

// A tensor of the wrong shape, dtype, device or layout; becomes dfanerf_rt.errors.ShapeError in Python.
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

template <typename T>
struct dtype_of;
template <typename T>
struct dtype_of<const T> : dtype_of<T> {};
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct dtype_of<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct dtype_of<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct dtype_of<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct dtype_of<uint32_t> {
  static constexpr DType value = DType::u32;
};

struct TensorView {
  static constexpr int kMaxDims = 8;

  void* data = nullptr;
  DType dtype = DType::f32;
  DeviceType device = DeviceType::cpu;
  int device_index = 0;
  int ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[kMaxDims] = {};  // in elements

  int64_t numel() const {
    int64_t count = 1;
    for (int d = 0; d < ndim; ++d) count *= shape[d];
    return count;
  }

  bool contiguous() const {
    int64_t expected = 1;
    for (int d = ndim - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != expected) return numel() == 0;
      expected *= shape[d];
    }
    return true;
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

inline std::string shape_text(const TensorView& view) {
  std::string text = "(";
  for (int d = 0; d < view.ndim; ++d) {
    if (d) text += ", ";
    text += std::to_string(view.shape[d]);
  }
  return text + ")";
}

}  // namespace dfanerf
