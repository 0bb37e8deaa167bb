// What depends on the frame alone (paper eq. 10 with condition and head pose constant over a frame): the first layer's
// bias, how the tables are mixed, and where camera rays fall in the field. Run by one thread of the host or a few of
// the device, once a frame; the same lines as ConditionalField.fold in dfanerf_rt/field/field.py.
#pragma once

#include <cmath>

#include "math/ray.h"

namespace dfanerf {

constexpr int kConditionDim = 48;
constexpr int kHeadPoseDim = 6;
constexpr int kMaxRaySteps = 1 << 16;
constexpr float kMaxDeviations = 3.0f;  // conditions and poses beyond what training has seen are pulled back

// The trained constants, row-major float32; pointers of the side that folds.
struct FoldConstants {
  int hidden = 0, n_blend = 0;
  const float* condition_mean = nullptr;    // (48,)
  const float* condition_std = nullptr;     // (48,)
  const float* pose_mean = nullptr;         // (6,)
  const float* pose_std = nullptr;          // (6,)
  const float* bias = nullptr;              // (hidden,) of the first layer
  const float* condition_weight = nullptr;  // (hidden, 48), or null where the condition is not concatenated
  const float* pose_weight = nullptr;       // (hidden, 6)
  const float* mixer_weight = nullptr;      // (n_blend, 48)
  const float* head_follow = nullptr;       // (6, 6)
  const float* torso_follow = nullptr;      // (6, 6)
  const float* neck = nullptr;              // (4,) plane: n in 1/m, and d
  const float* aabb = nullptr;              // (2, 3) metres
  float step_m = 0.0f;
};

// x_camera = rotation x + translation.
struct RigidPose {
  double rotation[3][3], translation[3];
};

// Component i of a condition or pose in standard deviations of the training frames.
DFANERF_HD float normalised(const float* value, const float* mean, const float* std, int i) {
  const float scaled = (value[i] - mean[i]) / std[i];
  return scaled < -kMaxDeviations ? -kMaxDeviations : scaled > kMaxDeviations ? kMaxDeviations : scaled;
}

// Row `row` of the first layer's bias; condition (48,) and pose (6,) normalised.
DFANERF_HD float folded_bias(const FoldConstants& constants, const float* condition, const float* pose, int row) {
  float sum = constants.bias[row];
  for (int k = 0; k < kHeadPoseDim; ++k) sum += constants.pose_weight[row * kHeadPoseDim + k] * pose[k];
  if (constants.condition_weight != nullptr)
    for (int k = 0; k < kConditionDim; ++k) sum += constants.condition_weight[row * kConditionDim + k] * condition[k];
  return sum;
}

// How much of table `table` is mixed in; condition (48,) normalised.
DFANERF_HD float folded_mix(const FoldConstants& constants, const float* condition, int table) {
  float sum = 0.0f;
  for (int k = 0; k < kConditionDim; ++k) sum += constants.mixer_weight[table * kConditionDim + k] * condition[k];
  return sum;
}

// pose: (6,) rotation vector in radians, translation in metres (Rodrigues' formula).
DFANERF_HD RigidPose rigid_pose(const double* pose) {
  const double x = pose[0], y = pose[1], z = pose[2];
  const double squared = x * x + y * y + z * z;
  double sine = 1.0 - squared / 6.0 + squared * squared / 120.0;
  double cosine = 0.5 - squared / 24.0 + squared * squared / 720.0;
  if (squared >= 1e-6) {
    const double angle = sqrt(squared);
    sine = sin(angle) / angle;
    cosine = (1.0 - cos(angle)) / squared;
  }
  RigidPose found = {{{1.0 - cosine * (y * y + z * z), cosine * x * y - sine * z, cosine * x * z + sine * y},
                      {cosine * x * y + sine * z, 1.0 - cosine * (x * x + z * z), cosine * y * z - sine * x},
                      {cosine * x * z - sine * y, cosine * y * z + sine * x, 1.0 - cosine * (x * x + y * y)}},
                     {pose[3], pose[4], pose[5]}};
  return found;
}

// head_pose: (6,). A frame follows it by a linear map (6, 6) of what the head moves from its mean.
DFANERF_HD RigidPose followed_pose(const FoldConstants& constants, const float* follow, const float* head_pose) {
  double pose[kHeadPoseDim];
  for (int a = 0; a < kHeadPoseDim; ++a) {
    pose[a] = constants.pose_mean[a];
    for (int k = 0; k < kHeadPoseDim; ++k)
      pose[a] += follow[a * kHeadPoseDim + k] * (double{head_pose[k]} - constants.pose_mean[k]);
  }
  return rigid_pose(pose);
}

// Distances from the camera between which rays can meet the box.
DFANERF_HD void box_range(const RigidPose& head, const float* aabb, float* near_m, float* far_m) {
  double nearest = 1e30, farthest = 0.0;
  for (int corner = 0; corner < 8; ++corner) {
    double seen[3], squared = 0.0;
    for (int a = 0; a < 3; ++a) {
      seen[a] = head.translation[a];
      for (int k = 0; k < 3; ++k) seen[a] += head.rotation[a][k] * aabb[3 * (corner >> k & 1) + k];
      squared += seen[a] * seen[a];
    }
    nearest = seen[2] < nearest ? seen[2] : nearest;
    farthest = squared > farthest ? squared : farthest;
  }
  *near_m = static_cast<float>(nearest > 0.05 ? nearest : 0.05);
  *far_m = static_cast<float>(sqrt(farthest));
}

// The affine maps of math/ray.h for a head and a torso.
DFANERF_HD RayFrame make_ray_frame(const RigidPose& head, const RigidPose& torso, const float* neck, const float* aabb,
                                   float near_m, float far_m, float step_m) {
  RayFrame frame;
  double origin[2][3];  // of the camera, in the torso's and the head's frame
  double neck_origin = neck[3];
  frame.rigid = true;
  for (int a = 0; a < 3; ++a) {
    origin[0][a] = origin[1][a] = 0.0;
    for (int k = 0; k < 3; ++k) {
      origin[0][a] -= torso.rotation[k][a] * torso.translation[k];
      origin[1][a] -= head.rotation[k][a] * head.translation[k];
      frame.rigid = frame.rigid && head.rotation[a][k] == torso.rotation[a][k];
    }
    frame.rigid = frame.rigid && head.translation[a] == torso.translation[a];
    neck_origin += neck[a] * origin[1][a];
  }
  for (int a = 0; a < 3; ++a) {
    const double extent = double{aabb[3 + a]} - aabb[a];
    double along = 0.0;
    for (int k = 0; k < 3; ++k) {
      frame.torso[a][k] = static_cast<float>(torso.rotation[k][a] / extent);
      frame.shift[a][k] = static_cast<float>((head.rotation[k][a] - torso.rotation[k][a]) / extent);
      along += neck[k] * head.rotation[a][k];
    }
    frame.torso_origin[a] = static_cast<float>((origin[0][a] - aabb[a]) / extent);
    frame.shift_origin[a] = static_cast<float>((origin[1][a] - origin[0][a]) / extent);
    frame.neck[a] = static_cast<float>(along);
    frame.extent[a] = static_cast<float>(extent);
  }
  frame.neck_origin = static_cast<float>(neck_origin);
  frame.near_m = near_m;
  frame.far_m = far_m;
  frame.step_m = step_m;
  return frame;
}

// The whole view of a frame; head_pose: (6,) rotation vector in radians, translation in metres.
DFANERF_HD RayFrame folded_view(const FoldConstants& constants, const float* head_pose) {
  const RigidPose head = followed_pose(constants, constants.head_follow, head_pose);
  const RigidPose torso = followed_pose(constants, constants.torso_follow, head_pose);
  float near_m, far_m;
  box_range(head, constants.aabb, &near_m, &far_m);
  return make_ray_frame(head, torso, constants.neck, constants.aabb, near_m, far_m, constants.step_m);
}

// Samples along a ray; at most kMaxRaySteps, whatever the numbers.
DFANERF_HD int ray_steps(const RayFrame& frame) {
  const double steps = ceil((double{frame.far_m} - frame.near_m) / frame.step_m);
  return steps > 0.0 ? static_cast<int>(steps < kMaxRaySteps ? steps : kMaxRaySteps) : 0;
}

}  // namespace dfanerf
