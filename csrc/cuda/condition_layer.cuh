// The conditioned first layer, forward and backward: three matrix products, each a block's tile of 64 x 32 sums at a
// time over 32 inner numbers that pass through shared memory. What lies outside a matrix is loaded as zero, so that any
// sizes do.
#pragma once

#include "cuda/warp_lanes.cuh"
#include "dfanerf/condition_layer.h"

namespace DFANERF_CUDA_NAMESPACE {

constexpr int kTileRows = 64, kTileColumns = 32, kTileDepth = 32;
constexpr int kLayerThreads = 128;  // each has 4 x 4 of the tile's sums
constexpr int kLayerSharedBytes = 4 * kTileDepth * (kTileRows + 4 + kTileColumns + 4);

struct alignas(16) Four {
  float value[4];
};

// The block's two factors: for each of the inner numbers, what multiplies the rows and what multiplies the columns.
struct LayerTile {
  float (*rows)[kTileRows + 4];
  float (*columns)[kTileColumns + 4];
  float sum[4][4] = {};

  DFANERF_DEVICE LayerTile() {
    rows = reinterpret_cast<float (*)[kTileRows + 4]>(shared_memory());
    columns = reinterpret_cast<float (*)[kTileColumns + 4]>(shared_memory() + sizeof(*rows) * kTileDepth);
  }

  // The first row and column whose sums this thread has.
  DFANERF_DEVICE int row() const { return thread_index() / 8 * 4; }
  DFANERF_DEVICE int column() const { return thread_index() % 8 * 4; }

  // fill_rows(inner, row) and fill_columns(inner, column) give the factors of this step; `along`: whether neighbours in
  // device memory are neighbours along the inner numbers.
  template <bool rows_along, bool columns_along, typename FillRows, typename FillColumns>
  DFANERF_DEVICE void load(const FillRows& fill_rows, const FillColumns& fill_columns) {
    sync_block();  // until all have read what was there before
    for (int i = thread_index(); i < kTileRows * kTileDepth; i += kLayerThreads) {
      const int inner = rows_along ? i % kTileDepth : i / kTileRows, row = rows_along ? i / kTileDepth : i % kTileRows;
      rows[inner][row] = fill_rows(inner, row);
    }
    for (int i = thread_index(); i < kTileColumns * kTileDepth; i += kLayerThreads) {
      const int inner = columns_along ? i % kTileDepth : i / kTileColumns;
      const int column = columns_along ? i / kTileDepth : i % kTileColumns;
      columns[inner][column] = fill_columns(inner, column);
    }
    sync_block();
  }

  DFANERF_DEVICE void multiply() {
    for (int inner = 0; inner < kTileDepth; ++inner) {
      const Four a = *reinterpret_cast<const Four*>(&rows[inner][row()]);
      const Four b = *reinterpret_cast<const Four*>(&columns[inner][column()]);
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(a.value[i], b.value[j], sum[i][j]);
    }
  }
};

// The gradient in front of the ReLU.
DFANERF_DEVICE float masked(const ConditionLayerGradients& gradients, int64_t at) {
  return gradients.out[at] <= 0.0f ? 0.0f : gradients.grad_out[at];
}

DFANERF_DEVICE int frame_of(const ConditionLayer& layer, int64_t i) {
  const int frame = layer.frame[i];
  return frame < 0 ? 0 : frame < layer.n_frames ? frame : layer.n_frames - 1;
}

// Samples from 64 x block to 64 x block + 63, outputs from `first_output`.
DFANERF_DEVICE void layer_block(const ConditionLayer& layer, int first_output, float* out) {
  const int64_t first = static_cast<int64_t>(block_index()) * kTileRows;
  const int width = layer.n_features, n_outputs = layer.n_outputs;
  LayerTile tile;
  for (int base = 0; base < width; base += kTileDepth) {
    tile.load<true, true>(
        [&](int inner, int row) {
          const bool here = first + row < layer.n && base + inner < width;
          return here ? layer.features[(first + row) * width + base + inner] : 0.0f;
        },
        [&](int inner, int column) {
          const bool here = first_output + column < n_outputs && base + inner < width;
          return here ? layer.weight[(first_output + column) * static_cast<int64_t>(width) + base + inner] : 0.0f;
        });
    tile.multiply();
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t sample = first + tile.row() + i;
    if (sample >= layer.n) break;
    const float* biases = layer.rows + static_cast<int64_t>(frame_of(layer, sample)) * n_outputs;
    for (int j = 0; j < 4; ++j) {
      const int output = first_output + tile.column() + j;
      if (output >= n_outputs) break;
      const float value = tile.sum[i][j] + biases[output];
      out[sample * n_outputs + output] = value < 0.0f ? 0.0f : value;
    }
  }
}

// The gradient of the features of 64 samples, from `first_feature`.
DFANERF_DEVICE void layer_features_gradient(const ConditionLayer& layer, const ConditionLayerGradients& gradients,
                                            int first_feature) {
  const int64_t first = static_cast<int64_t>(block_index()) * kTileRows;
  const int width = layer.n_features, n_outputs = layer.n_outputs;
  LayerTile tile;
  for (int base = 0; base < n_outputs; base += kTileDepth) {
    tile.load<true, false>(
        [&](int inner, int row) {
          const bool here = first + row < layer.n && base + inner < n_outputs;
          return here ? masked(gradients, (first + row) * n_outputs + base + inner) : 0.0f;
        },
        [&](int inner, int column) {
          const bool here = base + inner < n_outputs && first_feature + column < width;
          return here ? layer.weight[(base + inner) * static_cast<int64_t>(width) + first_feature + column] : 0.0f;
        });
    tile.multiply();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t sample = first + tile.row() + i;
      const int feature = first_feature + tile.column() + j;
      if (sample < layer.n && feature < width) gradients.features[sample * width + feature] = tile.sum[i][j];
    }
}

// This block's `n_samples` samples' part of the weight's gradient, for outputs from `first_output` and features from
// `first_feature`; blocks of the first features add up the rows' gradient as well.
DFANERF_DEVICE void layer_weight_gradient(const ConditionLayer& layer, const ConditionLayerGradients& gradients,
                                          int64_t n_samples, int first_output, int first_feature) {
  const int64_t begin = block_index() * n_samples;
  const int64_t end = begin + n_samples < layer.n ? begin + n_samples : layer.n;
  const int width = layer.n_features, n_outputs = layer.n_outputs;
  const int my_output = first_output + thread_index();  // whose rows this thread adds up
  const bool adds = first_feature == 0 && thread_index() < kTileRows && my_output < n_outputs;
  int frame = -1;
  float frame_sum = 0.0f;  // of the samples since the frame last changed
  LayerTile tile;
  for (int64_t base = begin; base < end; base += kTileDepth) {
    tile.load<false, false>(
        [&](int inner, int row) {
          const bool here = base + inner < end && first_output + row < n_outputs;
          return here ? masked(gradients, (base + inner) * n_outputs + first_output + row) : 0.0f;
        },
        [&](int inner, int column) {
          const bool here = base + inner < end && first_feature + column < width;
          return here ? layer.features[(base + inner) * width + first_feature + column] : 0.0f;
        });
    tile.multiply();
    for (int inner = 0; adds && inner < kTileDepth && base + inner < end; ++inner) {
      const int now = frame_of(layer, base + inner);
      if (now != frame) {
        if (frame >= 0) add(gradients.rows + static_cast<int64_t>(frame) * n_outputs + my_output, frame_sum);
        frame = now;
        frame_sum = 0.0f;
      }
      frame_sum += tile.rows[inner][thread_index()];
    }
  }
  if (adds && frame >= 0) add(gradients.rows + static_cast<int64_t>(frame) * n_outputs + my_output, frame_sum);
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int output = first_output + tile.row() + i, feature = first_feature + tile.column() + j;
      if (output < n_outputs && feature < width)
        add(gradients.weight + output * static_cast<int64_t>(width) + feature, tile.sum[i][j]);
    }
}

}  // namespace DFANERF_CUDA_NAMESPACE
