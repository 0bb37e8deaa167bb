// The ray through a pixel, and where its samples fall in the unit box of the field.
//
// Everything affine is folded per ray, so that a sample costs one multiply-add a coordinate and frame:
//   u_torso(t) = origin_torso + t torso      u_head(t) - u_torso(t) = origin_shift + t shift
//   neck(t)    = origin_neck + t neck        u(t) = u_torso + sigmoid(neck) (u_head - u_torso)
#pragma once

#include "math/neck.h"
#include "math/numbers.h"

namespace dfanerf {

// What rays of one frame share; filled once a frame.
struct RayFrame {
  float torso[3][3], torso_origin[3];  // direction and camera origin to u, by the torso's frame
  float shift[3][3], shift_origin[3];  // the same, head minus torso
  float neck[3], neck_origin;          // direction to d(neck)/dt
  float extent[3];                     // of the box, metres
  float near_m, far_m, step_m;
  bool rigid;  // head and torso move as one: the shift is zero
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

struct Ray {
  F torso[3], shift[3], neck;
};

DFANERF_HD F dot3(const float* row, const F* v) {
  return mul_add(splat(row[2]), v[2], mul_add(splat(row[1]), v[1], row[0] * v[0]));
}

DFANERF_HD Ray make_ray(const RayFrame& frame, const F* direction) {
  Ray ray;
  for (int axis = 0; axis < 3; ++axis) {
    ray.torso[axis] = dot3(frame.torso[axis], direction);
    ray.shift[axis] = dot3(frame.shift[axis], direction);
  }
  ray.neck = dot3(frame.neck, direction);
  return ray;
}

// Unit direction through a point of the picture, in pixels.
DFANERF_HD void direction_through(F x, F y, float focal_px, float cx, float cy, F* direction) {
  direction[0] = (x - cx) / focal_px;
  direction[1] = (y - cy) / focal_px;
  direction[2] = splat(1.0f);
  const F length = square_root(mul_add(direction[0], direction[0], mul_add(direction[1], direction[1], splat(1.0f))));
  for (int axis = 0; axis < 3; ++axis) direction[axis] = direction[axis] / length;
}

// Distance of a sample from the camera.
DFANERF_HD F sample_distance(const RayFrame& frame, I index) {
  return mul_add(to_float(index) + 0.5f, splat(frame.step_m), splat(frame.near_m));
}

// u of the sample at distance t.
DFANERF_HD void ray_position(const RayFrame& frame, const Ray& ray, F t, F* u) {
  for (int axis = 0; axis < 3; ++axis) u[axis] = mul_add(t, ray.torso[axis], splat(frame.torso_origin[axis]));
  if (frame.rigid) return;
  const F weight = head_weight(mul_add(t, ray.neck, splat(frame.neck_origin)));
  for (int axis = 0; axis < 3; ++axis)
    u[axis] = mul_add(weight, mul_add(t, ray.shift[axis], splat(frame.shift_origin[axis])), u[axis]);
}

// The largest |x_head - x_torso| along a ray, metres: convex in t, so at an end.
DFANERF_HD F ray_shift(const RayFrame& frame, const Ray& ray) {
  F farthest = splat(0.0f);
  const float ends[2] = {frame.near_m, frame.far_m};
  for (const float t : ends) {
    F squared = splat(0.0f);
    for (int axis = 0; axis < 3; ++axis) {
      const F d = mul_add(splat(t), ray.shift[axis], splat(frame.shift_origin[axis])) * frame.extent[axis];
      squared = mul_add(d, d, squared);
    }
    farthest = maximum(farthest, squared);
  }
  return square_root(farthest);
}

// A bound on how fast the field position moves along the ray, metres a metre: |dp/dt| <= 1 + |w'| |x_head - x_torso|,
// where the sigmoid's slope is at most 1/4.
DFANERF_HD F ray_stretch(const RayFrame& frame, const Ray& ray) {
  if (frame.rigid) return splat(1.0f);
  return mul_add(maximum(ray.neck, -ray.neck) * 0.25f, ray_shift(frame, ray), splat(1.0f));
}

// The same in any direction, for points up to `radius` metres beside the ray: between two rotations the shift changes
// by at most sqrt(8) metres a metre.
DFANERF_HD F cone_stretch(const RayFrame& frame, const Ray& ray, F radius) {
  if (frame.rigid) return splat(1.0f);
  F squared = splat(0.0f);
  for (int axis = 0; axis < 3; ++axis) squared = squared + splat(frame.neck[axis] * frame.neck[axis]);
  const F farthest = mul_add(radius, splat(2.83f), ray_shift(frame, ray));
  return mul_add(square_root(squared) * 0.25f, farthest, splat(1.0f));
}

}  // namespace DFANERF_MATH_NAMESPACE
