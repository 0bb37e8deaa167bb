// The few things a warp of the renderer does that ordinary C++ cannot say: votes, shuffles, barriers, half precision
// and tensor cores. With DFANERF_EMULATE_CUDA an ordinary C++ compiler takes them from tests/emulate_cuda.h instead, so
// that the renderer's own lines run, and are tested, without a GPU.
#pragma once

#include <cstdint>

#if defined(DFANERF_EMULATE_CUDA)

#define DFANERF_CUDA_NAMESPACE dfanerf::emulated
#include "tests/emulate_cuda.h"

#else

#define DFANERF_CUDA_NAMESPACE dfanerf::cuda
#define DFANERF_DEVICE __device__ __forceinline__

#include <cuda_fp16.h>

namespace DFANERF_CUDA_NAMESPACE {

constexpr uint32_t kAllLanes = 0xffffffffu;

DFANERF_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}
// Asked anew wherever it is called: what follows from it is computed again, not kept in registers all the while.
DFANERF_DEVICE int lane_index() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
DFANERF_DEVICE int block_index() {
  return static_cast<int>(blockIdx.x);
}
DFANERF_DEVICE int block_threads() {
  return static_cast<int>(blockDim.x);
}
DFANERF_DEVICE int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
DFANERF_DEVICE char* shared_memory() {
  extern __shared__ uint4 bytes[];
  return reinterpret_cast<char*>(bytes);
}

// All lanes of the warp take part in each of these.
DFANERF_DEVICE uint32_t vote(bool yes) {
  return __ballot_sync(kAllLanes, yes);
}
DFANERF_DEVICE uint32_t from_lane(uint32_t value, int lane) {
  return __shfl_sync(kAllLanes, value, lane);
}
DFANERF_DEVICE void sync_warp() {
  __syncwarp();
}
DFANERF_DEVICE void sync_block() {
  __syncthreads();
}

DFANERF_DEVICE int count_bits(uint32_t bits) {
  return __popc(bits);
}
DFANERF_DEVICE uint32_t fetch_add(uint32_t* counter, uint32_t by) {
  return atomicAdd(counter, by);
}
DFANERF_DEVICE void add(unsigned long long* counter, uint32_t by) {
  atomicAdd(counter, static_cast<unsigned long long>(by));
}
DFANERF_DEVICE uint32_t load_constant(const uint32_t* address) {
  return __ldg(address);
}

DFANERF_DEVICE float low_half(uint32_t pair) {
  return __low2float(*reinterpret_cast<const __half2*>(&pair));
}
DFANERF_DEVICE float high_half(uint32_t pair) {
  return __high2float(*reinterpret_cast<const __half2*>(&pair));
}

// Two numbers rounded to float16, the first in the low half; what is too large becomes +-65504.
DFANERF_DEVICE uint32_t pack_half(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const __half2 pair =
      __floats2half2_rn(fminf(fmaxf(low, -65504.0f), 65504.0f), fminf(fmaxf(high, -65504.0f), 65504.0f));
  return *reinterpret_cast<const uint32_t*>(&pair);
#endif
}

// The same, negative numbers to zero.
DFANERF_DEVICE uint32_t pack_half_relu(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.relu.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return pack_half(fmaxf(low, 0.0f), fmaxf(high, 0.0f));
#endif
}

// sum += A B: A 16x16, B 16x8 in float16, sum 16x8 in float32, each spread over the warp as the PTX ISA says for
// mma.m16n8k16. Of the lane with group = lane / 4 and pair = lane % 4:
//   a[0], a[1], a[2], a[3]   (group, 2 pair), (group + 8, 2 pair), (group, 2 pair + 8), (group + 8, 2 pair + 8),
//                            each with the next column in the high half
//   b0, b1                   rows 2 pair and 2 pair + 8 of column group, each with the next row in the high half
//   sum[0..3]                (group, 2 pair), (group, 2 pair + 1), (group + 8, 2 pair), (group + 8, 2 pair + 1)
DFANERF_DEVICE void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else  // Turing has the half of it: columns 0 to 7 of A with rows 0 to 7 of B, then the rest
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

}  // namespace DFANERF_CUDA_NAMESPACE

#endif
