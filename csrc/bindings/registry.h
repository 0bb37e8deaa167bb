// One bindings file an operator; each registers itself, so that adding one edits no shared file:
//
//   static dfanerf::Registration hash_encode{[](pybind11::module_& m) { m.def("hash_encode_forward", ...); }};
//
// A bound function takes its tensors as `const Tensor&` (see dlpack.h) and releases the GIL around the work with a
// py::gil_scoped_release in its body. Not with py::call_guard: the arguments must be let go while the GIL is held.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

namespace dfanerf {

using RegisterFunction = void (*)(pybind11::module_&);

inline std::vector<RegisterFunction>& registrations() {
  static std::vector<RegisterFunction> all;
  return all;
}

struct Registration {
  explicit Registration(RegisterFunction function) { registrations().push_back(function); }
};

}  // namespace dfanerf
