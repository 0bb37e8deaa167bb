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

// Columns of R^T, and -R^T t: camera to frame coordinates, as rows that act on a direction.
struct Inverse {
  double row[3][3], origin[3];
  explicit Inverse(const float* pose) {
    for (int a = 0; a < 3; ++a) {
      origin[a] = 0.0;
      for (int k = 0; k < 3; ++k) {
        row[a][k] = pose[4 * k + a];
        origin[a] -= row[a][k] * pose[4 * k + 3];
      }
    }
  }
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
  int n_threads = 1, n_blend = 0;
  float corner[3] = {};
  cpu::SkipCells skip;
  Pages<float> table;
  Pages<uint32_t> packed;
  std::vector<float> base;
  std::vector<uint16_t> blend;
  std::vector<float> weights[3], biases[3];
  std::vector<uint32_t> weights_bf16[3];

  void run_fold(const float* base_table, const float* mix, int count) {
    cpu::FoldJob fold{base_table, blend.data(), mix, count, 2 * n_entries, packed.data(), table.data()};
    auto* variant = cpu::choose_fold_table();
    parallel_for(2 * n_entries, kFoldChunk, n_threads, [&](int64_t begin, int64_t end) { variant(fold, begin, end); });
  }
};

FieldRenderer::FieldRenderer(std::vector<GridLevel> levels, int hidden, const uint8_t* occupancy, int resolution,
                             const float* aabb, Precision precision, int n_threads)
    : state_(new State) {
  State& s = *state_;
  if (levels.empty() || levels.size() > cpu::kMaxLevels) throw ShapeError("n_levels: expected 1 to 32");
  if (hidden < 8 || hidden > cpu::kMaxHidden || hidden % 8)
    throw ShapeError("hidden: " + std::to_string(hidden) + ", expected a multiple of 8 up to 128");
  s.n_threads = n_threads;
  s.job.n_levels = static_cast<int>(levels.size());
  s.job.hidden = hidden;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    if (levels[l].n_entries % 8) throw ShapeError("a level's entries are not a multiple of 8");
    if (levels[l].hashed && (levels[l].n_entries & (levels[l].n_entries - 1)))
      throw ShapeError("a hashed level's entries are not a power of two");
    s.job.levels[l] = levels[l];
    s.n_entries = std::max<int64_t>(s.n_entries, int64_t{levels[l].offset} + levels[l].n_entries);
  }
  for (int a = 0; a < 3; ++a) {
    s.corner[a] = aabb[a];
    s.job.rays.extent[a] = aabb[3 + a] - aabb[a];
  }
  s.skip = cpu::make_skip_cells(occupancy, resolution, s.job.rays.extent, n_threads);
  s.job.skip = SkipField{s.skip.cells.data(), resolution, s.skip.quantum};
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
int FieldRenderer::n_blend() const {
  return state_->n_blend;
}

void FieldRenderer::load_table(const float* table) {
  state_->run_fold(table, nullptr, 0);
}

void FieldRenderer::load_blend(const float* base, const float* tables, int n_blend) {
  State& s = *state_;
  s.n_blend = n_blend;
  s.base.assign(base, base + 2 * s.n_entries);
  s.blend.resize(static_cast<std::size_t>(n_blend) * 2 * s.n_entries);
  std::transform(tables, tables + s.blend.size(), s.blend.begin(), to_half);
}

void FieldRenderer::fold_table(const float* weights) {
  State& s = *state_;
  if (s.base.empty()) throw ShapeError("fold_table before load_blend: there are no tables to mix");
  s.run_fold(s.base.data(), weights, s.n_blend);
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

void FieldRenderer::load_first_bias(const float* bias) {
  State& s = *state_;
  if (s.biases[0].empty()) throw ShapeError("load_first_bias before load_network");
  std::copy(bias, bias + s.job.hidden, s.biases[0].begin());
}

RenderedCounts FieldRenderer::render(const FrameView& view, const FrameBuffers& buffers) {
  State& s = *state_;
  cpu::RenderJob& job = s.job;
  if (s.biases[0].empty()) throw ShapeError("render before load_network");
  const Inverse head(view.head_to_camera), torso(view.torso_to_camera);
  RayFrame& rays = job.rays;
  rays.rigid = std::equal(view.head_to_camera, view.head_to_camera + 12, view.torso_to_camera);
  double neck_origin = view.neck[3];
  for (int a = 0; a < 3; ++a) {
    const double extent = rays.extent[a];
    for (int k = 0; k < 3; ++k) {
      rays.torso[a][k] = static_cast<float>(torso.row[a][k] / extent);
      rays.shift[a][k] = static_cast<float>((head.row[a][k] - torso.row[a][k]) / extent);
    }
    rays.torso_origin[a] = static_cast<float>((torso.origin[a] - s.corner[a]) / extent);
    rays.shift_origin[a] = static_cast<float>((head.origin[a] - torso.origin[a]) / extent);
    neck_origin += view.neck[a] * head.origin[a];
    rays.neck[a] = 0.0f;
  }
  for (int k = 0; k < 3; ++k)
    for (int a = 0; a < 3; ++a) rays.neck[k] += static_cast<float>(view.neck[a] * head.row[a][k]);
  rays.neck_origin = static_cast<float>(neck_origin);
  rays.near_m = view.near_m;
  rays.far_m = view.far_m;
  rays.step_m = view.step_m;
  job.n_steps = static_cast<int>(std::ceil((double{view.far_m} - view.near_m) / view.step_m));
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
