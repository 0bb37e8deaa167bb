// What the fused renderer keeps on the device between frames, and its launches.
#include "dfanerf/cuda_render_field.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/field_checks.h"
#include "cpu/skip_field.h"
#include "cuda/render_field_fold.cuh"
#include "cuda/render_field_kernel.cuh"

namespace dfanerf {
namespace cuda {
namespace {

// Two blocks an SM, where the network leaves them the registers: 128 of them are enough for what grids usually have.
template <typename Net>
__global__ void __launch_bounds__(kRenderThreads,
                                  Net::kHidden == 32 || (Net::kHidden == 64 && Net::kInputTiles <= 2) ? 2 : 1)
    render_kernel(const __grid_constant__ RenderJob job) {
  render_rays<Net>(job);
}

template <typename Net>
__global__ void pack_kernel(const __grid_constant__ PackJob job) {
  pack_weights<Net>(job);
}

__global__ void mix_kernel(const __grid_constant__ MixJob job) {
  mix_words(job);
}

__global__ void fold_kernel(const __grid_constant__ FoldJob job) {
  fold_frame(job);
}

__global__ void place_kernel(FrameState* frame, const __grid_constant__ FrameState value) {
  *frame = value;
}

void check(cudaError_t status, const char* step) {
  if (status != cudaSuccess)
    throw std::runtime_error(std::string("CUDA renderer, ") + step + ": " + cudaGetErrorString(status));
}

void check_launch(const char* step) {
  check(cudaGetLastError(), step);
}

// The device of the renderer, while it is at work.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the device");
    if (device != before_) check(cudaSetDevice(device), "choosing the device");
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  void resize(int64_t count) {
    if (count == count_) return;
    check(cudaFree(data_), "freeing memory");
    data_ = nullptr;
    count_ = 0;
    check(cudaMalloc(reinterpret_cast<void**>(&data_), std::max<int64_t>(count, 1) * sizeof(T)), "allocating memory");
    count_ = count;
  }
  // From host or device memory; CUDA waits where pageable host memory has to be read before it may go away.
  void copy(const T* from, int64_t count, int64_t at, cudaStream_t stream) {
    if (count == 0) return;
    check(cudaMemcpyAsync(data_ + at, from, count * sizeof(T), cudaMemcpyDefault, stream), "copying");
  }
  T* data() const { return data_; }
  int64_t count() const { return count_; }

 private:
  T* data_ = nullptr;
  int64_t count_ = 0;
};

// The kernels of one shape of network.
struct Kernels {
  void (*render)(RenderJob);
  void (*pack)(PackJob);
  int n_words, shared_bytes;
};

template <int kInputTiles, int kHidden>
Kernels kernels_of() {
  using Net = Network<kInputTiles, kHidden>;
  return {render_kernel<Net>, pack_kernel<Net>, Net::kWords, Net::kSharedBytes};
}

Kernels choose_kernels(int n_levels, int hidden) {
  const bool wide = n_levels > 16;
  switch (hidden) {
    case 32: return wide ? kernels_of<4, 32>() : kernels_of<2, 32>();
    case 64: return wide ? kernels_of<4, 64>() : kernels_of<2, 64>();
    case 128: return wide ? kernels_of<4, 128>() : kernels_of<2, 128>();
  }
  throw ShapeError("hidden: " + std::to_string(hidden) + ", the CUDA renderer takes 32, 64 or 128");
}

cudaStream_t as_stream(uintptr_t stream) {
  return reinterpret_cast<cudaStream_t>(stream);
}

}  // namespace
}  // namespace cuda

using cuda::as_stream;
using cuda::check;
using cuda::check_launch;
using cuda::DeviceArray;
using cuda::OnDevice;

struct CudaFieldRenderer::State {
  int device = 0, hidden = 0, n_blocks = 0;
  int64_t n_entries = 0;
  cuda::Kernels kernels{};
  cuda::RenderJob job{};
  float aabb[6] = {};
  bool has_network = false, has_constants = false, has_table = false, has_frame = false;
  FoldConstants constants;  // its pointers lead into `owned`
  DeviceArray<float> owned, biases, mix, raw_weights, raw_table, base;
  DeviceArray<uint32_t> table, blend, weights;
  DeviceArray<uint16_t> skip_words;
  DeviceArray<cuda::FrameState> frame;
  DeviceArray<cuda::RayQueue> queue;

  void run_mix(const float* from, const uint32_t* tables, int n_blend, uint32_t* to, cudaStream_t stream) {
    constexpr int kThreads = 256, kWords = kThreads * cuda::kMixedWords;
    const cuda::MixJob job{from, tables, mix.data(), n_blend, n_entries, to};
    cuda::mix_kernel<<<static_cast<unsigned>((n_entries + kWords - 1) / kWords), kThreads, 0, stream>>>(job);
    check_launch("mixing tables");
  }
};

CudaFieldRenderer::CudaFieldRenderer(std::vector<GridLevel> levels, int hidden, const uint8_t* occupancy,
                                     int resolution, const float* aabb, int device)
    : state_(new State) {
  State& s = *state_;
  s.n_entries = check_field(levels, aabb, resolution);
  s.device = device;
  s.hidden = hidden;
  s.job.n_levels = static_cast<int>(levels.size());
  s.kernels = cuda::choose_kernels(s.job.n_levels, hidden);
  std::copy(levels.begin(), levels.end(), s.job.levels);
  while (s.job.n_dense < s.job.n_levels && !levels[s.job.n_dense].hashed) ++s.job.n_dense;
  for (int l = s.job.n_dense; l < s.job.n_levels; ++l)
    if (!levels[l].hashed) throw ShapeError("the CUDA renderer takes grids whose dense levels come before hashed ones");

  const OnDevice guard(device);
  int most_shared = 0, n_processors = 0, blocks_each = 0;
  check(cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for limits");
  check(cudaDeviceGetAttribute(&n_processors, cudaDevAttrMultiProcessorCount, device), "asking for limits");
  if (s.kernels.shared_bytes > most_shared)
    throw ShapeError("a network of " + std::to_string(n_inputs()) + " inputs and " + std::to_string(hidden) +
                     " units takes " + std::to_string(s.kernels.shared_bytes) +
                     " bytes of shared memory, but this GPU has " + std::to_string(most_shared));
  check(cudaFuncSetAttribute(s.kernels.render, cudaFuncAttributeMaxDynamicSharedMemorySize, s.kernels.shared_bytes),
        "reserving shared memory");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_each, s.kernels.render, cuda::kRenderThreads,
                                                      s.kernels.shared_bytes),
        "asking for occupancy");
  s.n_blocks = std::max(1, blocks_each) * n_processors;

  std::copy(aabb, aabb + 6, s.aabb);
  const float extent[3] = {aabb[3] - aabb[0], aabb[4] - aabb[1], aabb[5] - aabb[2]};
  const cpu::SkipCells skip = cpu::make_skip_cells(occupancy, resolution, extent, 1);
  s.skip_words.resize(static_cast<int64_t>(skip.words.size()));
  check(cudaMemcpy(s.skip_words.data(), skip.words.data(), 2 * skip.words.size(), cudaMemcpyHostToDevice), "copying");
  s.table.resize(s.n_entries);
  s.weights.resize(s.kernels.n_words);
  s.biases.resize(2 * hidden + 4);
  s.raw_weights.resize(int64_t{hidden} * (n_inputs() + hidden + 4));
  s.raw_table.resize(2 * s.n_entries);
  s.frame.resize(1);
  s.queue.resize(1);
  check(cudaMemset(s.queue.data(), 0, sizeof(cuda::RayQueue)), "clearing the queue");
  s.job.frame = s.frame.data();
  s.job.queue = s.queue.data();
  s.job.table = s.table.data();
  s.job.weights = s.weights.data();
  s.job.biases = s.biases.data();
  s.job.skip = SkipField{s.skip_words.data(), resolution, skip.quantum};
}

CudaFieldRenderer::~CudaFieldRenderer() = default;

int CudaFieldRenderer::device() const {
  return state_->device;
}
int64_t CudaFieldRenderer::n_entries() const {
  return state_->n_entries;
}
int CudaFieldRenderer::n_inputs() const {
  return 2 * state_->job.n_levels;
}
int CudaFieldRenderer::hidden() const {
  return state_->hidden;
}

void CudaFieldRenderer::load_network(const float* const weights[3], const float* const biases[3], uintptr_t stream) {
  State& s = *state_;
  const OnDevice guard(s.device);
  const cudaStream_t queue = as_stream(stream);
  const int outputs[3] = {s.hidden, s.hidden, 4}, inputs[3] = {n_inputs(), s.hidden, s.hidden};
  cuda::PackJob pack{{}, n_inputs(), s.weights.data()};
  int64_t at = 0, bias_at = 0;
  for (int layer = 0; layer < 3; ++layer) {
    s.raw_weights.copy(weights[layer], int64_t{outputs[layer]} * inputs[layer], at, queue);
    s.biases.copy(biases[layer], outputs[layer], bias_at, queue);
    pack.weights[layer] = s.raw_weights.data() + at;
    at += int64_t{outputs[layer]} * inputs[layer];
    bias_at += outputs[layer];
  }
  s.kernels.pack<<<(s.kernels.n_words + 255) / 256, 256, 0, queue>>>(pack);
  check_launch("packing weights");
  s.has_network = true;
}

void CudaFieldRenderer::load_constants(const FoldConstants& constants, const float* base, const float* tables,
                                       uintptr_t stream) {
  State& s = *state_;
  if (!s.has_network) throw ShapeError("load_constants before load_network");
  const OnDevice guard(s.device);
  const cudaStream_t queue = as_stream(stream);
  const int hidden = s.hidden, n_blend = constants.n_blend;
  FoldConstants& own = s.constants;
  own = constants;
  own.hidden = hidden;
  own.bias = s.biases.data();
  const std::pair<const float**, int> kept[] = {{&own.condition_mean, kConditionDim},
                                                {&own.condition_std, kConditionDim},
                                                {&own.pose_mean, kHeadPoseDim},
                                                {&own.pose_std, kHeadPoseDim},
                                                {&own.bias, hidden},
                                                {&own.condition_weight, hidden * kConditionDim},
                                                {&own.pose_weight, hidden * kHeadPoseDim},
                                                {&own.mixer_weight, n_blend * kConditionDim},
                                                {&own.head_follow, kHeadPoseDim * kHeadPoseDim},
                                                {&own.torso_follow, kHeadPoseDim * kHeadPoseDim},
                                                {&own.neck, 4},
                                                {&own.aabb, 6}};
  own.aabb = s.aabb;
  int64_t total = 0;
  for (const auto& [pointer, count] : kept) total += count;
  s.owned.resize(total);
  int64_t at = 0;
  for (const auto& [pointer, count] : kept) {
    if (*pointer == nullptr) continue;
    s.owned.copy(*pointer, count, at, queue);
    *pointer = s.owned.data() + at;
    at += count;
  }
  s.mix.resize(n_blend);
  s.base.resize(2 * s.n_entries);
  s.base.copy(base, 2 * s.n_entries, 0, queue);
  s.blend.resize(int64_t{n_blend} * s.n_entries);
  for (int k = 0; k < n_blend; ++k) {
    s.raw_table.copy(tables + 2 * s.n_entries * k, 2 * s.n_entries, 0, queue);
    s.run_mix(s.raw_table.data(), nullptr, 0, s.blend.data() + s.n_entries * k, queue);
  }
  s.run_mix(s.base.data(), nullptr, 0, s.table.data(), queue);
  s.has_constants = s.has_table = true;
}

void CudaFieldRenderer::load_table(const float* table, uintptr_t stream) {
  State& s = *state_;
  const OnDevice guard(s.device);
  s.raw_table.copy(table, 2 * s.n_entries, 0, as_stream(stream));
  s.run_mix(s.raw_table.data(), nullptr, 0, s.table.data(), as_stream(stream));
  s.has_table = true;
}

void CudaFieldRenderer::fold(const float* condition, const float* head_pose, uintptr_t stream) {
  State& s = *state_;
  if (!s.has_constants) throw ShapeError("fold before load_constants");
  const OnDevice guard(s.device);
  const cuda::FoldJob fold{s.constants, condition, head_pose, s.biases.data(), s.mix.data(), s.frame.data()};
  cuda::fold_kernel<<<1, 128, cuda::kFoldSharedBytes, as_stream(stream)>>>(fold);
  check_launch("folding");
  if (s.constants.n_blend)
    s.run_mix(s.base.data(), s.blend.data(), s.constants.n_blend, s.table.data(), as_stream(stream));
  s.has_frame = true;
}

void CudaFieldRenderer::place(const Placement& placement, uintptr_t stream) {
  State& s = *state_;
  const RayFrame rays = placed_rays(placement, s.aabb);
  const OnDevice guard(s.device);
  cuda::place_kernel<<<1, 1, 0, as_stream(stream)>>>(s.frame.data(), cuda::FrameState{rays, ray_steps(rays)});
  check_launch("placing");
  s.has_frame = true;
}

void CudaFieldRenderer::render(const PictureView& view, const FrameBuffers& buffers, uintptr_t stream) {
  State& s = *state_;
  if (!s.has_network) throw ShapeError("render before load_network");
  if (!s.has_table) throw ShapeError("render before load_constants or load_table");
  if (!s.has_frame) throw ShapeError("render before fold or place");
  check_view(view);
  const OnDevice guard(s.device);
  cuda::RenderJob job = s.job;
  job.view = view;
  job.buffers = buffers;
  // Every warp can take 32 pixels at a time: more blocks than that would find the queue empty.
  const int wanted =
      static_cast<int>((int64_t{view.width} * view.height + cuda::kRenderThreads - 1) / cuda::kRenderThreads);
  check(cudaMemsetAsync(s.queue.data(), 0, sizeof(cuda::RayQueue), as_stream(stream)), "clearing the queue");
  s.kernels.render<<<std::min(s.n_blocks, wanted), cuda::kRenderThreads, s.kernels.shared_bytes, as_stream(stream)>>>(
      job);
  check_launch("rendering");
}

RenderedCounts CudaFieldRenderer::counts(uintptr_t stream) const {
  const State& s = *state_;
  const OnDevice guard(s.device);
  cuda::RayQueue queue{};
  check(cudaMemcpyAsync(&queue, s.queue.data(), sizeof queue, cudaMemcpyDeviceToHost, as_stream(stream)), "copying");
  check(cudaStreamSynchronize(as_stream(stream)), "waiting for the picture");
  return RenderedCounts{queue.samples, queue.lookups};
}

}  // namespace dfanerf
