// The Python module dfanerf_rt._C: what was built, and every operator that registered itself.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/build_info.h"
#include "dfanerf/cpu_features.h"
#include "dfanerf/cuda_device.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of dfanerf_rt; use dfanerf_rt.ops, which checks and dispatches.";

  py::register_exception_translator([](std::exception_ptr fault) {
    try {
      if (fault) std::rethrow_exception(fault);
    } catch (const dfanerf::ShapeError& error) {
      const py::object type = py::module_::import("dfanerf_rt.errors").attr("ShapeError");
      PyErr_SetString(type.ptr(), error.what());
    }
  });

  py::dict info;
  info["compiler"] = DFANERF_BUILD_COMPILER;
  info["processor"] = DFANERF_BUILD_PROCESSOR;
  info["simd_variants"] = DFANERF_BUILD_SIMD;
#ifdef DFANERF_WITH_CUDA
  info["cuda"] = true;
#else
  info["cuda"] = false;
#endif
  info["cuda_version"] = DFANERF_BUILD_CUDA_VERSION;
  info["cuda_architectures"] = DFANERF_BUILD_CUDA_ARCHITECTURES;
  m.attr("BUILD_INFO") = info;

  m.def(
      "simd_level", [] { return std::string(dfanerf::name(dfanerf::cpu_features().level)); },
      "The SIMD variant that this processor runs: portable, avx2 or avx512.");
  m.def(
      "has_avx512_bf16", [] { return dfanerf::cpu_features().avx512_bf16; },
      "Whether bf16 dot products are used where a kernel offers them.");
  m.def("cuda_unavailable_reason", &dfanerf::cuda_unavailable_reason,
        "An empty string if the CUDA kernels can run here, else why not.");

  for (dfanerf::RegisterFunction function : dfanerf::registrations()) function(m);
}
