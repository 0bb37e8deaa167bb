// Renders one frame of an avatar: render_frame AVATAR.safetensors PICTURE.ppm [WIDTH] [YAW_DEGREES]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dfanerf/avatar.h"

namespace {

void write_ppm(const std::string& path, const std::vector<uint8_t>& picture, const dfanerf::PictureView& view) {
  std::ofstream stream(path, std::ios::binary);
  stream << "P6\n" << view.width << ' ' << view.height << "\n255\n";
  stream.write(reinterpret_cast<const char*>(picture.data()), static_cast<std::streamsize>(picture.size()));
  if (!stream.flush()) throw std::runtime_error(path + ": cannot be written");
}

void render(const std::string& avatar_path, const std::string& picture_path, int width, float yaw_degrees) {
  const dfanerf::Avatar avatar = dfanerf::load_avatar(avatar_path);
  const dfanerf::PictureView view = width > 0 ? avatar.resized(width) : avatar.view;
  const int n_threads = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
  const auto renderer = avatar.renderer(dfanerf::Precision::bfloat16, n_threads);

  // A live program takes these from its sound and its motion, frame after frame; here: at rest, turned a little.
  const std::vector<float> condition = avatar.condition_mean;
  std::vector<float> head_pose = avatar.pose_mean;
  head_pose[1] += yaw_degrees * 3.14159265f / 180.0f;
  renderer->fold(condition.data(), head_pose.data());

  const std::vector<uint8_t> background = avatar.background_at(view);
  std::vector<uint8_t> picture(background.size());
  dfanerf::FrameBuffers buffers;
  buffers.background = background.data();
  buffers.image = picture.data();
  buffers.background_row = buffers.image_row = 3 * view.width;
  const dfanerf::RenderedCounts counts = renderer->render(view, buffers);

  write_ppm(picture_path, picture, view);
  std::printf("%s: %dx%d, %llu samples\n", avatar.name.c_str(), view.width, view.height,
              static_cast<unsigned long long>(counts.samples));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: render_frame AVATAR.safetensors PICTURE.ppm [WIDTH] [YAW_DEGREES]\n");
    return 2;
  }
  try {
    render(argv[1], argv[2], argc > 3 ? std::atoi(argv[3]) : 0,
           argc > 4 ? static_cast<float>(std::atof(argv[4])) : 0.0f);
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "render_frame: %s\n", fault.what());
    return 2;
  }
  return 0;
}
