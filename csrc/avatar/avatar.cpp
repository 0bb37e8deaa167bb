#include "dfanerf/avatar.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "avatar/json.h"
#include "avatar/packing.h"
#include "avatar/resample.h"
#include "avatar/safetensors.h"
#include "cpu/field_checks.h"

namespace dfanerf {
namespace {

// The newest schema packs its largest tensors; the one before does not; in the oldest ones the head takes the pose as
// it is.
constexpr const char* kSchema = "dfanerf-avatar/5";
constexpr const char* kUnpackedSchema = "dfanerf-avatar/4";
constexpr const char* kOldestSchemas[] = {"dfanerf-avatar/3", "dfanerf-avatar/2"};
constexpr uint32_t kMaxDenseResolution = 0x659;  // above it the cube overflows 32 bits, and the level is hashed

// Numbers of the metadata, each with the range that it must lie in.
class Settings {
 public:
  Settings(const Json* object, std::string where) : object_(object), where_(std::move(where)) {
    if (object_ == nullptr || object_->kind != Json::Kind::object) throw AvatarError(where_ + " are missing");
  }

  double number(const char* key, double low, double high) const {
    const Json& value = member(key, Json::Kind::number);
    if (!(value.number >= low && value.number <= high)) fail(key, value.number, low, high);
    return value.number;
  }
  int whole(const char* key, int low, int high) const {
    const double value = number(key, low, high);
    if (value != std::floor(value)) fail(key, value, low, high);
    return static_cast<int>(value);
  }
  bool boolean(const char* key) const { return member(key, Json::Kind::boolean).number != 0.0; }
  const std::string& text(const char* key) const { return member(key, Json::Kind::text).text; }

 private:
  const Json& member(const char* key, Json::Kind kind) const {
    const Json* found = object_->find(key);
    if (found == nullptr || found->kind != kind)
      throw AvatarError(where_ + ": " + key + (found == nullptr ? " is missing" : " is of another type"));
    return *found;
  }
  [[noreturn]] void fail(const char* key, double value, double low, double high) const {
    throw AvatarError(where_ + ": " + key + " is " + std::to_string(value) + ", expected " + std::to_string(low) +
                      " to " + std::to_string(high));
  }

  const Json* object_;
  std::string where_;
};

// Sizes of the hash grid's levels, by the float32 steps of tiny-cuda-nn; as HashGridConfig of ops/hash_encode.py.
std::vector<GridLevel> grid_levels(int n_levels, int log2_table_size, int base_resolution, int max_resolution) {
  const double growth =
      n_levels == 1 ? 1.0 : std::exp(std::log(static_cast<double>(max_resolution) / base_resolution) / (n_levels - 1));
  const auto log2_scale = static_cast<float>(std::log2(static_cast<double>(static_cast<float>(growth))));
  std::vector<GridLevel> levels;
  uint64_t offset = 0;
  for (int l = 0; l < n_levels; ++l) {
    const auto power = static_cast<float>(std::exp2(static_cast<double>(static_cast<float>(l) * log2_scale)));
    GridLevel level;
    level.scale = power * static_cast<float>(base_resolution) - 1.0f;
    level.resolution = static_cast<uint32_t>(std::ceil(level.scale)) + 1;
    const uint64_t dense = uint64_t{level.resolution} * level.resolution * level.resolution;
    level.n_entries = static_cast<uint32_t>(std::min<uint64_t>((dense + 7) / 8 * 8, uint64_t{1} << log2_table_size));
    level.offset = static_cast<uint32_t>(offset);
    level.hashed = level.resolution > kMaxDenseResolution || level.n_entries < dense;
    offset += level.n_entries;
    levels.push_back(level);
  }
  return levels;
}

// Tables of a packed avatar: see packing.h.
void read_packed_tables(const Safetensors& file, int64_t n_blend, int64_t entries, Avatar& avatar) {
  const std::vector<int64_t> kept = kept_rows(file, "field.kept", entries);
  avatar.table = restored_tables(file, "field.table", {}, kept, entries);
  avatar.blend_tables = restored_tables(file, "field.blend_tables", {n_blend}, kept, entries);
}

void read_field(const Safetensors& file, bool concat, bool head_follows, Avatar& avatar) {
  const int64_t inputs = 2 * static_cast<int64_t>(avatar.levels.size()), hidden = avatar.hidden;
  const int64_t entries = int64_t{avatar.levels.back().offset} + avatar.levels.back().n_entries;
  const int64_t n_blend = avatar.n_blend, condition = kConditionDim, pose = kHeadPoseDim;
  if (file.has("field.kept")) {
    read_packed_tables(file, n_blend, entries, avatar);
  } else {
    avatar.table = file.floats("field.table", {entries, 2});
    avatar.blend_tables = file.floats("field.blend_tables", {n_blend, entries, 2});
  }
  avatar.mixer_weight = file.floats("field.mixer_weight", {n_blend, condition});
  avatar.weights[0] = file.floats("field.w1", {hidden, inputs});
  avatar.weights[1] = file.floats("field.w2", {hidden, hidden});
  avatar.weights[2] = file.floats("field.w3", {4, hidden});
  avatar.biases[0] = file.floats("field.b1", {hidden});
  avatar.biases[1] = file.floats("field.b2", {hidden});
  avatar.biases[2] = file.floats("field.b3", {4});
  avatar.condition_weight = file.floats("field.condition_weight", {hidden, concat ? condition : 0});
  avatar.pose_weight = file.floats("field.pose_weight", {hidden, pose});
  if (head_follows) {
    avatar.head_follow = file.floats("field.head_follow", {pose, pose});
  } else {
    avatar.head_follow.assign(static_cast<std::size_t>(pose * pose), 0.0f);
    for (int64_t a = 0; a < pose; ++a) avatar.head_follow[static_cast<std::size_t>(a * (pose + 1))] = 1.0f;
  }
  avatar.torso_follow = file.floats("field.torso_follow", {pose, pose});
  avatar.neck = file.floats("field.neck", {4});
  avatar.aabb = file.floats("field.aabb", {2, 3});
  avatar.condition_mean = file.floats("field.condition_mean", {condition});
  avatar.condition_std = file.floats("field.condition_std", {condition});
  avatar.pose_mean = file.floats("field.pose_mean", {pose});
  avatar.pose_std = file.floats("field.pose_std", {pose});
  const int64_t cells = avatar.occupancy_resolution;
  const int64_t n_cells = cells * cells * cells;
  const int64_t n_bytes = (n_cells + 7) / 8;
  const std::vector<uint8_t> bits =
      file.has("occupancy.kept") ? restored_words(file, n_bytes) : file.bytes("occupancy.bits", {n_bytes});
  avatar.occupancy.resize(static_cast<std::size_t>(n_cells));
  for (int64_t i = 0; i < n_cells; ++i) avatar.occupancy[i] = bits[i / 8] >> (i % 8) & 1;
  for (int a = 0; a < 3; ++a)
    if (!(avatar.aabb[3 + a] > avatar.aabb[a]))
      throw AvatarError(file.path() + ": field.aabb is empty, expected its upper corner above the lower one");
}

}  // namespace

Avatar load_avatar(const std::string& path) {
  const Safetensors file(path);
  Json stored;
  try {
    stored = parse_json(file.metadata("json"));
  } catch (const JsonError& fault) {
    throw AvatarError(path + ": this package's metadata is missing or damaged (" + fault.what() + ")");
  }
  const Settings meta(&stored, path + ": metadata");
  const std::string schema = meta.text("schema");
  const bool oldest =
      std::find(std::begin(kOldestSchemas), std::end(kOldestSchemas), schema) != std::end(kOldestSchemas);
  if (schema != kSchema && schema != kUnpackedSchema && !oldest)
    throw AvatarError(path + ": schema is '" + schema + "', expected '" + kSchema + "'");
  Avatar avatar;
  avatar.name = meta.text("name");
  avatar.view.width = meta.whole("width", 1, kMaxExtentPx);
  avatar.view.height = meta.whole("height", 1, kMaxExtentPx);
  avatar.view.focal_px = static_cast<float>(meta.number("focal_px", 1e-3, 1e9));
  avatar.view.cx = static_cast<float>(meta.number("cx", -1e9, 1e9));
  avatar.view.cy = static_cast<float>(meta.number("cy", -1e9, 1e9));

  const Settings field(stored.find("field"), path + ": field settings");
  const int n_levels = field.whole("n_levels", 1, kMaxGridLevels);
  field.whole("n_features", 2, 2);  // an entry's features, as the CPU renderer takes them
  const int base = field.whole("base_resolution", 2, 1 << 20);
  avatar.levels =
      grid_levels(n_levels, field.whole("log2_table_size", 3, 28), base, field.whole("max_resolution", base, 1 << 20));
  avatar.hidden = field.whole("hidden", 1, 1024);
  avatar.n_blend = field.whole("n_blend", 0, 1024);
  avatar.n_steps = field.whole("n_steps", 1, kMaxRaySteps);
  avatar.occupancy_resolution = field.whole("occupancy_resolution", 1, kMaxCells);
  read_field(file, field.boolean("concat"), !oldest, avatar);

  constexpr int64_t kAny = Safetensors::kAnyExtent;
  const StoredTensor& background = file.tensor("background.image", {kAny, kAny, 3});
  const int64_t longest = std::max(background.shape[0], background.shape[1]);
  if (background.numel == 0 || longest > kMaxExtentPx)
    throw AvatarError(path + ": background.image has no pixels or too many, expected 1 to 8192 a side");
  avatar.background = file.bytes("background.image", background.shape);
  avatar.background_height = static_cast<int>(background.shape[0]);
  avatar.background_width = static_cast<int>(background.shape[1]);
  return avatar;
}

PictureView Avatar::resized(int width) const {
  const double scale = static_cast<double>(width) / view.width;
  const double height = std::max(1.0, std::nearbyint(view.height * scale));
  if (width < 1 || width > kMaxExtentPx || height > kMaxExtentPx)
    throw ShapeError("width is " + std::to_string(width) + ", expected 1 to 8192 pixels a side");
  PictureView found = view;
  found.width = width;
  found.height = static_cast<int>(height);
  found.focal_px = static_cast<float>(view.focal_px * scale);
  found.cx = static_cast<float>(view.cx * scale);
  found.cy = static_cast<float>(view.cy * scale);
  return found;
}

std::vector<uint8_t> Avatar::background_at(const PictureView& wanted) const {
  if (wanted.width == background_width && wanted.height == background_height) return background;
  return resample(background, background_width, background_height, wanted.width, wanted.height);
}

FoldConstants Avatar::constants() const {
  FoldConstants found;
  found.hidden = hidden;
  found.n_blend = n_blend;
  found.condition_mean = condition_mean.data();
  found.condition_std = condition_std.data();
  found.pose_mean = pose_mean.data();
  found.pose_std = pose_std.data();
  found.bias = biases[0].data();
  found.condition_weight = condition_weight.empty() ? nullptr : condition_weight.data();
  found.pose_weight = pose_weight.data();
  found.mixer_weight = mixer_weight.data();
  found.head_follow = head_follow.data();
  found.torso_follow = torso_follow.data();
  found.neck = neck.data();
  found.aabb = aabb.data();
  found.step_m = static_cast<float>(static_cast<double>(aabb[5] - aabb[2]) / n_steps);
  return found;
}

std::unique_ptr<FieldRenderer> Avatar::renderer(Precision precision, int n_threads) const {
  auto made = std::make_unique<FieldRenderer>(levels, hidden, occupancy.data(), occupancy_resolution, aabb.data(),
                                              precision, n_threads);
  const float* const w[3] = {weights[0].data(), weights[1].data(), weights[2].data()};
  const float* const b[3] = {biases[0].data(), biases[1].data(), biases[2].data()};
  made->load_network(w, b);
  made->load_constants(constants(), table.data(), blend_tables.data());
  return made;
}

}  // namespace dfanerf
