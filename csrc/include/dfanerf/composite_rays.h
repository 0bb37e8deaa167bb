// Volume rendering of packed samples, forward and backward: see dfanerf_rt/ops/composite_rays.py for the definition.
#pragma once

#include <cstdint>

#include "math/composite.h"

namespace dfanerf {

namespace cpu {

void composite_rays_forward(const PackedRays& rays, const CompositedRays& out, int n_threads);

// Gradients with respect to sigma and rgb, from those of colour, transmittance and distortion.
void composite_rays_backward(const PackedRays& rays, const CompositeGradients& gradients, int n_threads);

}  // namespace cpu

#ifdef DFANERF_WITH_CUDA
namespace cuda {

// The same on the device, asynchronously on `stream` (a cudaStream_t as an integer). Throws std::runtime_error.
void composite_rays_forward(const PackedRays& rays, const CompositedRays& out, uintptr_t stream);
void composite_rays_backward(const PackedRays& rays, const CompositeGradients& gradients, uintptr_t stream);

}  // namespace cuda
#endif

}  // namespace dfanerf
