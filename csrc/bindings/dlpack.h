// From any Python object with __dlpack__ (a torch or numpy array) to a TensorView, without copying and without torch.
//
// Bound functions take `const Tensor&` for what they read and `const OutTensor&` for what they write. The caster keeps
// the memory alive for the call. Read-only memory is refused as an output; as an input it comes through the buffer
// protocol where numpy, before 2.1, does not give it to DLPack. Tensors that require grad must be detached by the
// caller. No synchronisation happens: CUDA functions take the current stream as an integer.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>

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
  bool borrow_buffer(pybind11::handle source);
  void take(const dlpack::Tensor& source);

  pybind11::object capsule_;      // its own destructor frees what was exported
  pybind11::buffer_info buffer_;  // and so does this one's
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

// A DLPack capsule of an object that has __dlpack__.
inline pybind11::object export_dlpack(pybind11::handle source) {
  namespace py = pybind11;
  const py::object exporter = source.attr("__dlpack__");
  const py::object place = source.attr("__dlpack_device__")();
  if (!py::isinstance<py::tuple>(place) || py::len(place) != 2 || !py::isinstance<py::int_>(place[py::int_(0)]))
    throw ShapeError("__dlpack_device__ returned no (type, number)");
  // numpy accepts no stream but None, and torch on CUDA waits for the default stream unless it is told -1.
  const py::object kind = place[py::int_(0)], host_kind = py::int_(static_cast<int>(dlpack::kCpu));
  const py::object stream = kind.equal(host_kind) ? py::object(py::none()) : py::object(py::int_(-1));
  try {
    return exporter(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& fault) {
    if (!fault.matches(PyExc_TypeError)) throw;
    return exporter(py::arg("stream") = stream);  // an exporter older than DLPack 1.0
  }
}

// Memory of the host that is read only, or that DLPack cannot describe. False where there is no such buffer.
inline bool Tensor::borrow_buffer(pybind11::handle source) {
  namespace py = pybind11;
  if (!PyObject_CheckBuffer(source.ptr())) return false;
  buffer_ = py::reinterpret_borrow<py::buffer>(source).request(false);
  static constexpr std::pair<const char*, DType> kFormats[] = {
      {"f", DType::f32}, {"d", DType::f64}, {"e", DType::f16}, {"B", DType::u8},     {"i", DType::i32},
      {"l", DType::i64}, {"q", DType::i64}, {"I", DType::u32}, {"?", DType::boolean}};
  const auto* known = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const auto& entry) { return buffer_.format == entry.first; });
  if (known == std::end(kFormats)) throw ShapeError("an array of format '" + buffer_.format + "' is not supported");
  if (buffer_.ndim > kMaxDims) throw ShapeError("a tensor of more than 8 dimensions");
  device = DeviceType::cpu;
  dtype = known->second;
  data = buffer_.ptr;
  ndim = static_cast<int>(buffer_.ndim);
  for (int d = 0; d < ndim; ++d) {
    shape[d] = buffer_.shape[static_cast<std::size_t>(d)];
    const int64_t bytes = buffer_.strides[static_cast<std::size_t>(d)];
    if (bytes % buffer_.itemsize) throw ShapeError("an array whose strides are no multiple of its items");
    strides[d] = bytes / buffer_.itemsize;
  }
  return true;
}

inline void Tensor::borrow(pybind11::handle source, bool writable) {
  namespace py = pybind11;
  try {
    capsule_ = export_dlpack(source);
  } catch (py::error_already_set& fault) {
    if (!fault.matches(PyExc_BufferError)) throw;
    if (!writable && borrow_buffer(source)) return;
    throw ShapeError("an array that cannot be " + std::string(writable ? "written" : "read") + ": " +
                     py::str(fault.value()).cast<std::string>());
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
  take(*source_view);
}

inline void Tensor::take(const dlpack::Tensor& source) {
  if (source.ndim < 0 || source.ndim > kMaxDims) throw ShapeError("a tensor of more than 8 dimensions");
  if (source.ndim > 0 && source.shape == nullptr) throw ShapeError("a tensor without a shape");
  switch (source.device.type) {
    case dlpack::kCpu:
    case dlpack::kCudaHost: device = DeviceType::cpu; break;
    case dlpack::kCuda:
    case dlpack::kCudaManaged: device = DeviceType::cuda; break;
    default: throw ShapeError("a tensor on a device that is neither the CPU nor a CUDA GPU");
  }
  device_index = source.device.id;
  dtype = dtype_from_dlpack(source.dtype);
  ndim = source.ndim;
  int64_t run = 1;
  for (int d = ndim - 1; d >= 0; --d) {
    shape[d] = source.shape[d];
    strides[d] = source.strides ? source.strides[d] : run;
    if (shape[d] < 0 || __builtin_mul_overflow(run, std::max<int64_t>(shape[d], 1), &run))
      throw ShapeError("a tensor of no sensible shape");
  }
  if (source.data == nullptr && numel() > 0) throw ShapeError("a tensor without memory");
  data = static_cast<char*>(source.data) + source.byte_offset;
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
