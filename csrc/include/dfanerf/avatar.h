// The avatar file (dfanerf_rt/avatar.py) as far as rendering needs it. Public header; no torch, no Python.
//
//   const dfanerf::Avatar avatar = dfanerf::load_avatar("presenter.safetensors");
//   const auto renderer = avatar.renderer(dfanerf::Precision::bfloat16, n_threads);
//   renderer->fold(condition, head_pose);
//   renderer->render(view, buffers);
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "dfanerf/render_field.h"
#include "math/fold.h"

namespace dfanerf {

// An avatar file that cannot be used; names the file, what was found and what was expected.
struct AvatarError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The field, the background and the camera of an avatar. All arrays row-major; lengths in metres.
struct Avatar {
  std::string name;
  PictureView view;  // of the pictures it was trained on

  std::vector<GridLevel> levels;
  int hidden = 0, n_blend = 0, n_steps = 0, occupancy_resolution = 0;
  std::vector<float> table;         // (n_entries, 2)
  std::vector<float> blend_tables;  // (n_blend, n_entries, 2)
  std::vector<float> weights[3];    // (hidden, 2 levels), (hidden, hidden), (4, hidden)
  std::vector<float> biases[3];
  std::vector<float> condition_weight;  // (hidden, 48), or empty where the condition is not concatenated
  std::vector<float> pose_weight;       // (hidden, 6)
  std::vector<float> mixer_weight;      // (n_blend, 48)
  std::vector<float> head_follow, torso_follow, neck, aabb;
  std::vector<float> condition_mean, condition_std;  // (48,): a condition to begin with
  std::vector<float> pose_mean, pose_std;            // (6,): a head pose to begin with
  std::vector<uint8_t> occupancy;                    // (R, R, R)
  std::vector<uint8_t> background;                   // (background_height, background_width, 3) sRGB
  int background_width = 0, background_height = 0;

  // The same view in a picture of another width. Throws ShapeError where it is not 1 to 8192 pixels.
  PictureView resized(int width) const;
  // The background at that view's size: (height, width, 3).
  std::vector<uint8_t> background_at(const PictureView& view) const;
  // What FieldRenderer::load_constants takes; points into this avatar.
  FoldConstants constants() const;
  // A renderer with everything loaded: fold, then render. It keeps no pointer into this avatar.
  std::unique_ptr<FieldRenderer> renderer(Precision precision, int n_threads) const;
};

// Reads and validates. Throws AvatarError where the file is missing, truncated, of another schema, or lacks something.
Avatar load_avatar(const std::string& path);

}  // namespace dfanerf
