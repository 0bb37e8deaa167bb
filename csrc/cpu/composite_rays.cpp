// Volume rendering of packed samples on the CPU.
#include "dfanerf/composite_rays.h"

#include <cmath>

#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {
namespace {

constexpr int64_t kRaysPerChunk = 128;

}  // namespace

void composite_rays_forward(const PackedRays& rays, float* colour, float* transmittance, float* distortion,
                            float* weights, int n_threads) {
  parallel_for(rays.n_rays, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float light = 1.0f, sum[3] = {}, spread = 0.0f, mass = 0.0f, moment = 0.0f;
      const int64_t first = rays.offsets[r];
      for (int64_t i = first; i < rays.offsets[r + 1]; ++i) {
        const float passed = std::exp(-rays.sigma[i] * rays.step_m);
        const float w = light * (1.0f - passed);
        const float m = (rays.t[i] - rays.t[first]) / rays.step_m;
        for (int c = 0; c < 3; ++c) sum[c] += w * rays.rgb[3 * i + c];
        spread += 2.0f * w * (m * mass - moment) + w * w / 3.0f;
        mass += w;
        moment += w * m;
        weights[i] = w;
        light *= passed;
      }
      for (int c = 0; c < 3; ++c) colour[3 * r + c] = sum[c];
      transmittance[r] = light;
      distortion[r] = spread;
    }
  });
}

void composite_rays_backward(const PackedRays& rays, const float* transmittance, const float* weights,
                             const float* grad_colour, const float* grad_transmittance, const float* grad_distortion,
                             float* grad_sigma, float* grad_rgb, int n_threads) {
  parallel_for(rays.n_rays, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = rays.offsets[r], last = rays.offsets[r + 1];
      const float* g = grad_colour + 3 * r;
      float mass = 0.0f, moment = 0.0f;
      for (int64_t i = first; i < last; ++i) {
        mass += weights[i];
        moment += weights[i] * (rays.t[i] - rays.t[first]) / rays.step_m;
      }
      // Behind sample i: d(weight_j)/d(sigma_i) = -step weight_j, and the same for the light that is left.
      float behind = transmittance[r] * grad_transmittance[r];
      float light = transmittance[r];
      float mass_behind = 0.0f, moment_behind = 0.0f;
      for (int64_t i = last - 1; i >= first; --i) {
        const float w = weights[i], m = (rays.t[i] - rays.t[first]) / rays.step_m;
        const float* c = rays.rgb + 3 * i;
        const float mass_before = mass - mass_behind - w, moment_before = moment - moment_behind - w * m;
        const float spread = 2.0f * (m * mass_before - moment_before + moment_behind - m * mass_behind) + w / 1.5f;
        const float value = g[0] * c[0] + g[1] * c[1] + g[2] * c[2] + grad_distortion[r] * spread;
        grad_sigma[i] = rays.step_m * (light * value - behind);
        for (int k = 0; k < 3; ++k) grad_rgb[3 * i + k] = w * g[k];
        behind += w * value;
        light += w;  // what reached sample i is what left it plus what it stopped
        mass_behind += w;
        moment_behind += w * m;
      }
    }
  });
}

}  // namespace dfanerf::cpu
