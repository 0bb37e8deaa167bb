// Lets one header be compiled by g++ for the host and by nvcc for both sides. Always inline and static: no copy
// compiled for one instruction set may stand in for another.
#pragma once

#ifdef __CUDACC__
#define DFANERF_HD __host__ __device__ __forceinline__
#else
#define DFANERF_HD static inline __attribute__((always_inline))
#endif
