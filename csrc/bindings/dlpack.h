// From any Python object with __dlpack__ (a torch or numpy array) to a TensorView, without copying and without torch.
//
// Bound functions take `const Tensor&` for what they read and `const OutTensor&` for what they write. The caster keeps
// the memory alive for the call. Read-only memory is refused as an output. Tensors that require grad must be detached
// by the caller. No synchronisation happens: CUDA functions take the current stream as an integer.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

#include "dfanerf/tensor.h"

namespace dfanerf {

// The stable C structures of DLPack 1.x (https://dmlc.github.io/dlpack/latest/c_api.html).
namespace dlpack {

struct Device {
  int32_t type;
  int32_t id;
};
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; NULL means contiguous
  uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct Version {
  uint32_t major, minor;
};
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};
constexpr uint64_t kReadOnly = 1;
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };
enum DeviceCode : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };

}  // namespace dlpack

// A borrowed tensor argument; not copyable, so that it cannot outlive the call.
class Tensor : public TensorView {
 public:
  Tensor() = default;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  void borrow(pybind11::handle source, bool writable);

 private:
  pybind11::object capsule_;  // its own destructor frees what was exported
};

// The same, for memory that the function writes.
class OutTensor : public Tensor {};

inline DType dtype_from_dlpack(dlpack::DataType type) {
  using namespace dlpack;
  const int key = type.lanes == 1 ? type.code * 256 + type.bits : -1;
  switch (key) {
    case kFloat * 256 + 32: return DType::f32;
    case kFloat * 256 + 16: return DType::f16;
    case kFloat * 256 + 64: return DType::f64;
    case kBfloat * 256 + 16: return DType::bf16;
    case kUInt * 256 + 8: return DType::u8;
    case kUInt * 256 + 32: return DType::u32;
    case kInt * 256 + 32: return DType::i32;
    case kInt * 256 + 64: return DType::i64;
    case kBool * 256 + 8: return DType::boolean;
  }
  throw ShapeError("a tensor of DLPack type code " + std::to_string(type.code) + ", " + std::to_string(type.bits) +
                   " bits, is not supported");
}

inline void Tensor::borrow(pybind11::handle source, bool writable) {
  namespace py = pybind11;
  const py::object exporter = source.attr("__dlpack__");
  const py::int_ no_sync(-1);
  // numpy accepts no stream but None, and torch on CUDA waits for the default stream unless it is told -1.
  const auto device_type = source.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>();
  const py::object stream = device_type == dlpack::kCpu ? py::object(py::none()) : py::object(no_sync);
  try {
    capsule_ = exporter(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& fault) {
    if (!fault.matches(PyExc_TypeError)) throw;
    capsule_ = exporter(py::arg("stream") = stream);  // an exporter older than DLPack 1.0
  }

  const dlpack::Tensor* source_view = nullptr;
  if (PyCapsule_IsValid(capsule_.ptr(), "dltensor_versioned")) {
    auto* managed = static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule_.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1) throw ShapeError("a tensor of an unknown DLPack version");
    if (writable && (managed->flags & dlpack::kReadOnly)) throw ShapeError("an output lies in read-only memory");
    source_view = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule_.ptr(), "dltensor")) {
    source_view = &static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule_.ptr(), "dltensor"))->tensor;
  } else {
    throw ShapeError("__dlpack__ returned something that is not a DLPack capsule");
  }

  if (source_view->ndim > kMaxDims) throw ShapeError("a tensor of more than 8 dimensions");
  switch (source_view->device.type) {
    case dlpack::kCpu:
    case dlpack::kCudaHost: device = DeviceType::cpu; break;
    case dlpack::kCuda:
    case dlpack::kCudaManaged: device = DeviceType::cuda; break;
    default: throw ShapeError("a tensor on a device that is neither the CPU nor a CUDA GPU");
  }
  device_index = source_view->device.id;
  dtype = dtype_from_dlpack(source_view->dtype);
  ndim = source_view->ndim;
  data = static_cast<char*>(source_view->data) + source_view->byte_offset;
  int64_t expected = 1;
  for (int d = ndim - 1; d >= 0; --d) {
    shape[d] = source_view->shape[d];
    strides[d] = source_view->strides ? source_view->strides[d] : expected;
    expected *= shape[d];
  }
}

}  // namespace dfanerf

namespace pybind11::detail {

template <typename T, bool writable>
struct dlpack_caster {
  static constexpr auto name = const_name("Tensor");
  // A parameter is `const T&`, or `const T*`, which is null for None.
  template <typename U>
  using cast_op_type = std::conditional_t<std::is_pointer_v<std::remove_reference_t<U>>, const T*, const T&>;

  bool load(handle source, bool) {
    if (!source) return false;
    if (source.is_none()) {
      none_ = true;
      return true;
    }
    if (!hasattr(source, "__dlpack__")) return false;
    value_.borrow(source, writable);
    return true;
  }
  operator const T*() { return none_ ? nullptr : &value_; }
  operator const T&() {
    if (none_) throw reference_cast_error();
    return value_;
  }

 private:
  T value_;
  bool none_ = false;
};

template <>
struct type_caster<dfanerf::Tensor> : dlpack_caster<dfanerf::Tensor, false> {};
template <>
struct type_caster<dfanerf::OutTensor> : dlpack_caster<dfanerf::OutTensor, true> {};

}  // namespace pybind11::detail
