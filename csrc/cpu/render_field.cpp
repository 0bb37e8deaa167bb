// What the renderer keeps between frames, and the loop over tiles.
#include "dfanerf/render_field.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cpu/field_checks.h"
#include "cpu/mlp_layout.h"
#include "cpu/render_field_job.h"
#include "cpu/skip_field.h"
#include "dfanerf/cpu_features.h"
#include "dfanerf/thread_pool.h"

namespace dfanerf {

namespace cpu {
namespace portable {
RenderTiles render_tiles;
FoldTable fold_table;
}  // namespace portable
#ifdef DFANERF_X86
namespace avx2 {
RenderTiles render_tiles;
FoldTable fold_table;
}  // namespace avx2
namespace avx512 {
RenderTiles render_tiles;
FoldTable fold_table;
}  // namespace avx512
#endif

RenderTiles* choose_render_tiles() {
  return DFANERF_SIMD_SELECT(render_tiles);
}
FoldTable* choose_fold_table() {
  return DFANERF_SIMD_SELECT(fold_table);
}
}  // namespace cpu

namespace {

constexpr int64_t kFoldChunk = 1 << 14;

// Memory on huge pages: gathers from a table on small ones spend their time on address translation.
template <typename T>
class Pages {
 public:
  void resize(int64_t count) {
    if (count == count_) return;
    constexpr std::size_t kHuge = 1 << 21;
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + kHuge - 1) / kHuge * kHuge;
    std::free(data_);
    count_ = 0;
    data_ = static_cast<T*>(std::aligned_alloc(kHuge, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
    count_ = count;
#if defined(__linux__)
    madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  Pages() = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { std::free(data_); }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  int64_t count_ = 0;
};

uint16_t to_half(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const uint32_t sign = word >> 16 & 0x8000u;
  const float magnitude = std::min(std::fabs(value), 65504.0f);
  if (magnitude < 0x1p-14f)
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::lrintf(magnitude * 0x1p24f)));
  std::memcpy(&word, &magnitude, sizeof word);
  word += 0xfffu + (word >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((word >> 13) - (112u << 10)));
}

}  // namespace

struct FieldRenderer::State {
  cpu::RenderJob job{};
  int64_t n_entries = 0;
  int n_threads = 1;
  float aabb[6] = {};
  FoldConstants constants;  // its pointers lead into `owned`
  std::vector<std::vector<float>> owned;
  cpu::SkipCells skip;
  Pages<float> table;
  Pages<uint32_t> packed;
  std::vector<float> base;
  std::vector<uint16_t> blend;
  std::vector<float> weights[3], biases[3];
  std::vector<uint32_t> weights_bf16[3];
  bool has_table = false;

  void run_fold(const float* base_table, const float* mix, int count) {
    has_table = true;
    cpu::FoldJob fold{base_table, blend.data(), mix, count, 2 * n_entries, packed.data(), table.data()};
    auto* variant = cpu::choose_fold_table();
    parallel_for(2 * n_entries, kFoldChunk, n_threads, [&](int64_t begin, int64_t end) { variant(fold, begin, end); });
  }
};

FieldRenderer::FieldRenderer(std::vector<GridLevel> levels, int hidden, const uint8_t* occupancy, int resolution,
                             const float* aabb, Precision precision, int n_threads)
    : state_(new State) {
  State& s = *state_;
  s.n_entries = check_field(levels, aabb, resolution);
  check_count("n_threads", n_threads, 1, ThreadPool::kMaxThreads);
  if (hidden < 8 || hidden > cpu::kMaxHidden || hidden % 8)
    throw ShapeError("hidden: " + std::to_string(hidden) + ", expected a multiple of 8 up to 128");
  s.n_threads = n_threads;
  s.job.n_levels = static_cast<int>(levels.size());
  s.job.hidden = hidden;
  std::copy(levels.begin(), levels.end(), s.job.levels);
  std::copy(aabb, aabb + 6, s.aabb);
  const float extent[3] = {aabb[3] - aabb[0], aabb[4] - aabb[1], aabb[5] - aabb[2]};
  s.skip = cpu::make_skip_cells(occupancy, resolution, extent, n_threads);
  s.job.skip = SkipField{s.skip.words.data(), resolution, s.skip.quantum};
  s.job.bf16_dot = precision == Precision::bfloat16 && cpu_features().avx512_bf16;
  if (precision == Precision::bfloat16)
    s.packed.resize(s.n_entries);
  else
    s.table.resize(2 * s.n_entries);
  s.job.packed = s.packed.data();
  s.job.table = s.table.data();
}

FieldRenderer::~FieldRenderer() = default;

int64_t FieldRenderer::n_entries() const {
  return state_->n_entries;
}
int FieldRenderer::n_inputs() const {
  return 2 * state_->job.n_levels;
}
int FieldRenderer::hidden() const {
  return state_->job.hidden;
}

void FieldRenderer::load_table(const float* table) {
  state_->run_fold(table, nullptr, 0);
}

void FieldRenderer::load_network(const float* const weights[3], const float* const biases[3]) {
  State& s = *state_;
  const int hidden = s.job.hidden;
  const int outputs[3] = {hidden, hidden, 4}, inputs[3] = {n_inputs(), hidden, hidden};
  for (int layer = 0; layer < 3; ++layer) {
    s.weights[layer] = cpu::in_blocks(weights[layer], outputs[layer], inputs[layer]);
    s.weights_bf16[layer] = cpu::in_blocks_bf16(weights[layer], outputs[layer], inputs[layer]);
    s.biases[layer].assign(biases[layer], biases[layer] + outputs[layer]);
    s.job.weights[layer] = s.weights[layer].data();
    s.job.weights_bf16[layer] = s.weights_bf16[layer].data();
    s.job.biases[layer] = s.biases[layer].data();
  }
}

void FieldRenderer::load_constants(const FoldConstants& constants, const float* base, const float* tables) {
  State& s = *state_;
  if (s.biases[0].empty()) throw ShapeError("load_constants before load_network");
  s.owned.clear();
  s.base.clear();  // nothing to fold until all of it is there
  const auto keep = [&](const float* values, int count) {
    s.owned.emplace_back(values, values + count);
    return s.owned.back().data();
  };
  const int hidden = s.job.hidden, n_blend = constants.n_blend;
  FoldConstants& own = s.constants;
  own.hidden = hidden;
  own.n_blend = n_blend;
  own.condition_mean = keep(constants.condition_mean, kConditionDim);
  own.condition_std = keep(constants.condition_std, kConditionDim);
  own.pose_mean = keep(constants.pose_mean, kHeadPoseDim);
  own.pose_std = keep(constants.pose_std, kHeadPoseDim);
  own.bias = keep(s.biases[0].data(), hidden);
  own.condition_weight =
      constants.condition_weight ? keep(constants.condition_weight, hidden * kConditionDim) : nullptr;
  own.pose_weight = keep(constants.pose_weight, hidden * kHeadPoseDim);
  own.mixer_weight = keep(constants.mixer_weight, n_blend * kConditionDim);
  own.head_follow = keep(constants.head_follow, kHeadPoseDim * kHeadPoseDim);
  own.torso_follow = keep(constants.torso_follow, kHeadPoseDim * kHeadPoseDim);
  own.neck = keep(constants.neck, 4);
  own.aabb = s.aabb;
  own.step_m = constants.step_m;
  s.base.assign(base, base + 2 * s.n_entries);
  s.blend.resize(static_cast<std::size_t>(n_blend) * 2 * s.n_entries);
  std::transform(tables, tables + s.blend.size(), s.blend.begin(), to_half);
  if (n_blend == 0) s.run_fold(s.base.data(), nullptr, 0);
}

void FieldRenderer::fold(const float* condition, const float* head_pose) {
  State& s = *state_;
  const FoldConstants& constants = s.constants;
  if (s.base.empty()) throw ShapeError("fold before load_constants");
  check_finite(condition, kConditionDim, "condition");
  check_finite(head_pose, kHeadPoseDim, "head_pose");
  const RayFrame view = folded_view(constants, head_pose);
  if (ray_steps(view) == kMaxRaySteps) throw ShapeError("head_pose: puts the head out of the camera's reach");
  float normal[kConditionDim], pose[kHeadPoseDim];
  for (int i = 0; i < kConditionDim; ++i)
    normal[i] = normalised(condition, constants.condition_mean, constants.condition_std, i);
  for (int i = 0; i < kHeadPoseDim; ++i) pose[i] = normalised(head_pose, constants.pose_mean, constants.pose_std, i);
  for (int row = 0; row < constants.hidden; ++row) s.biases[0][row] = folded_bias(constants, normal, pose, row);
  if (constants.n_blend) {
    std::vector<float> mix(constants.n_blend);
    for (int k = 0; k < constants.n_blend; ++k) mix[k] = folded_mix(constants, normal, k);
    s.run_fold(s.base.data(), mix.data(), constants.n_blend);
  }
  s.job.rays = view;
}

void FieldRenderer::place(const Placement& placement) {
  State& s = *state_;
  s.job.rays = placed_rays(placement, s.aabb);
}

RenderedCounts FieldRenderer::render(const PictureView& view, const FrameBuffers& buffers) {
  State& s = *state_;
  cpu::RenderJob& job = s.job;
  if (s.biases[0].empty()) throw ShapeError("render before load_network");
  if (!s.has_table) throw ShapeError("render before fold or load_table");
  if (!(job.rays.step_m > 0.0f)) throw ShapeError("render before fold or place");
  check_view(view);
  job.n_steps = ray_steps(job.rays);
  job.width = view.width;
  job.height = view.height;
  job.focal_px = view.focal_px;
  job.cx = view.cx;
  job.cy = view.cy;
  job.buffers = buffers;

  const int64_t columns = (job.width + cpu::kTile - 1) / cpu::kTile, rows = (job.height + cpu::kTile - 1) / cpu::kTile;
  auto* variant = cpu::choose_render_tiles();
  std::atomic<uint64_t> samples{0}, lookups{0};
  parallel_for(columns * rows, 1, s.n_threads, [&](int64_t begin, int64_t end) {
    RenderedCounts counts;
    variant(job, begin, end, counts);
    samples += counts.samples;
    lookups += counts.lookups;
  });
  return RenderedCounts{samples, lookups};
}

}  // namespace dfanerf
