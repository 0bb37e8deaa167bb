// The avatar file: what is read, and that a damaged one is one clear error.
#include "dfanerf/avatar.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "avatar/json.h"
#include "avatar/resample.h"
#include "tests/test.h"

using namespace dfanerf;

namespace {

// A file that vanishes with the test.
struct TemporaryFile {
  std::string path = "/tmp/dfanerf_avatar_" + std::to_string(getpid()) + ".safetensors";
  explicit TemporaryFile(const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  ~TemporaryFile() { std::remove(path.c_str()); }
};

std::string with_length(const std::string& header) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> 8 * i);
  return bytes + header;
}

struct Stored {
  std::string name, dtype, shape, bytes;
};

std::string floats(int count, float value) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes.append(reinterpret_cast<const char*>(&value), 4);
  return bytes;
}

// One dense level of 8 grid points, 8 hidden units, one table to mix, 2 cells an axis, a background of 3 x 2 pixels.
// Nothing is packed, as in schema 4.
std::vector<Stored> tensors() {
  std::vector<Stored> all = {{"field.table", "F16", "[8,2]", std::string(32, '\x3c')},
                             {"field.blend_tables", "F16", "[1,8,2]", std::string(32, '\0')},
                             {"field.aabb", "F32", "[2,3]", floats(3, -0.5f) + floats(3, 0.5f)},
                             {"occupancy.bits", "U8", "[1]", std::string(1, '\xff')},
                             {"background.image", "U8", "[2,3,3]", std::string(18, '\x40')}};
  const struct {
    const char *name, *shape;
    int count;
  } rest[] = {{"mixer_weight", "[1,48]", 48},
              {"w1", "[8,2]", 16},
              {"w2", "[8,8]", 64},
              {"w3", "[4,8]", 32},
              {"b1", "[8]", 8},
              {"b2", "[8]", 8},
              {"b3", "[4]", 4},
              {"condition_weight", "[8,48]", 384},
              {"pose_weight", "[8,6]", 48},
              {"torso_follow", "[6,6]", 36},
              {"neck", "[4]", 4},
              {"condition_mean", "[48]", 48},
              {"condition_std", "[48]", 48},
              {"pose_mean", "[6]", 6},
              {"pose_std", "[6]", 6}};
  for (const auto& [name, shape, count] : rest)
    all.push_back({std::string("field.") + name, "F32", shape, floats(count, 0.25f)});
  std::string identity;
  for (int i = 0; i < 36; ++i) identity += floats(1, i % 7 == 0 ? 1.0f : 0.0f);
  all.push_back({"field.head_follow", "F32", "[6,6]", identity});
  return all;
}

const std::string kMetadata =
    R"({\"schema\": \"dfanerf-avatar/4\", \"name\": \"A\\u00e9\", \"width\": 3, \"height\": 2, \"focal_px\": 6.0,)"
    R"( \"cx\": 1.5, \"cy\": 1.0, \"field\": {\"n_levels\": 1, \"n_features\": 2, \"log2_table_size\": 5,)"
    R"( \"base_resolution\": 2, \"max_resolution\": 2, \"hidden\": 8, \"n_blend\": 1, \"concat\": true,)"
    R"( \"occupancy_resolution\": 2, \"n_steps\": 10}})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

const std::string kPackedMetadata =
    replaced(replaced(kMetadata, "avatar/4", "avatar/5"), "occupancy_resolution\\\": 2", "occupancy_resolution\\\": 8");

std::string file_of(const std::vector<Stored>& all, const std::string& metadata = kMetadata) {
  std::string header = "{\"__metadata__\":{\"json\":\"" + metadata + "\"}", data;
  for (const Stored& tensor : all) {
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":" + tensor.shape +
              ",\"data_offsets\":[" + std::to_string(data.size());
    data += tensor.bytes;
    header += "," + std::to_string(data.size()) + "]}";
  }
  return with_length(header + "}") + data;
}

// What load_avatar says of a file of these bytes; empty where it takes it.
std::string complaint(const std::string& bytes) {
  const TemporaryFile file(bytes);
  try {
    load_avatar(file.path);
  } catch (const AvatarError& error) {
    const std::string text = error.what();
    CHECK(text.rfind(file.path, 0) == 0 && text.find('\n') == std::string::npos);
    return text.substr(file.path.size());
  }
  return "";
}

std::string complaint(const std::function<void(std::vector<Stored>&)>& damage) {
  std::vector<Stored> all = tensors();
  damage(all);
  return complaint(file_of(all));
}

// The same avatar packed, with entries 1 and 6 and cells of a grid of 8 an axis.
std::vector<Stored> packed_tensors() {
  std::vector<Stored> all = tensors();
  all[0] = {"field.table", "I8", "[2,2]", std::string("\x7f\x00\x81\x40", 4)};
  all[1] = {"field.blend_tables", "I8", "[1,2,2]", std::string(4, '\x7f')};
  all[3] = {"occupancy.bits", "U8", "[16]", std::string(16, '\xff')};
  all.push_back({"field.kept", "U8", "[1]", std::string(1, '\x42')});
  all.push_back({"field.table_peaks", "F16", "[1]", std::string("\x00\x40", 2)});           // 2
  all.push_back({"field.blend_tables_peaks", "F16", "[1,1]", std::string("\x00\x38", 2)});  // 0.5
  all.push_back({"occupancy.kept", "U8", "[1]", std::string(1, '\x81')});
  return all;
}

std::string packed_complaint(const std::function<void(std::vector<Stored>&)>& damage) {
  std::vector<Stored> all = packed_tensors();
  damage(all);
  return complaint(file_of(all, kPackedMetadata));
}

bool says(const std::string& text, const char* what) {
  if (text.find(what) != std::string::npos) return true;
  std::printf("\"%s\" does not say \"%s\"\n", text.c_str(), what);
  return false;
}

std::string json_fault(const std::string& text) {
  try {
    parse_json(text);
  } catch (const JsonError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(json_values) {
  const Json value = parse_json(R"( {"a": [1, -2.5e1, true, null], "b": {"c": "x\n\u00e9\ud83d\ude00"}} )");
  CHECK(value.find("a")->items.size() == 4 && value.find("a")->items[1].number == -25.0);
  CHECK(value.find("a")->items[2].kind == Json::Kind::boolean && value.find("a")->items[3].kind == Json::Kind::null);
  CHECK(value.find("b")->find("c")->text == "x\n\xc3\xa9\xf0\x9f\x98\x80");
  CHECK(value.find("d") == nullptr && value.find("a")->find("b") == nullptr);
}

TEST(what_is_not_json_is_refused) {
  for (const char* text : {"",          "{",         "[1,]",        "{\"a\":1,}",
                           "{\"a\" 1}", "nan",       "Infinity",    "-",
                           "01",        ".5",        "1e999",       "\"x",
                           "\"\\q\"",   "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
                           "1 2",       "tru",       "'a'",         "{\"a\":1,\"a\":2}",
                           "\"\x01\""})
    CHECK(!json_fault(text).empty());
  CHECK(says(json_fault(std::string(100000, '[')), "too many brackets"));
  CHECK(json_fault(std::string(60, '[') + std::string(60, ']')).empty());
}

TEST(an_avatar_is_read) {
  const TemporaryFile file(file_of(tensors()));
  const Avatar avatar = load_avatar(file.path);
  CHECK(avatar.name == "A\xc3\xa9" && avatar.view.width == 3 && avatar.view.height == 2);
  CHECK(avatar.levels.size() == 1 && avatar.levels[0].scale == 1.0f && avatar.levels[0].n_entries == 8);
  CHECK_NEAR(avatar.table[5], 1.05859375, 0.0);  // the half 0x3c3c: 1 + 60 / 1024
  CHECK(avatar.weights[1].size() == 64 && avatar.weights[1][63] == 0.25f);
  CHECK_NEAR(avatar.constants().step_m, 0.1, 1e-7);
  const PictureView view = avatar.resized(30);
  CHECK(view.width == 30 && view.height == 20 && view.focal_px == 60.0f && view.cx == 15.0f);
  CHECK(avatar.background_at(view) == std::vector<uint8_t>(30 * 20 * 3, 0x40));

  const auto renderer = avatar.renderer(Precision::float32, 2);
  const std::vector<float> pose = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 2.0f};
  renderer->fold(avatar.condition_mean.data(), pose.data());
  const std::vector<uint8_t> background = avatar.background_at(view);
  std::vector<uint8_t> picture(background.size(), 0);
  FrameBuffers buffers;
  buffers.background = background.data();
  buffers.image = picture.data();
  buffers.background_row = buffers.image_row = 3 * view.width;
  CHECK(renderer->render(view, buffers).samples > 0);
  CHECK(picture[0] == 0x40 && picture[3 * (10 * 30 + 15)] != 0x40);  // the corner shows the background
}

TEST(a_damaged_avatar_is_one_clear_error) {
  CHECK(says(complaint(std::string()), "truncated"));
  CHECK(says(complaint(with_length("[]")), "no JSON object"));
  CHECK(says(complaint(with_length("{}")), "metadata is missing"));
  const std::string whole = file_of(tensors());
  for (size_t length = 0; length < whole.size(); length += length < 200 ? 1 : 97)
    CHECK(!complaint(whole.substr(0, length)).empty());
  CHECK(says(complaint(whole + "x"), "longer or shorter"));

  CHECK(says(complaint([](auto& all) { all.pop_back(); }), "'field.head_follow' is missing"));
  CHECK(says(complaint([](auto& all) { all[0].shape = "[16,1]"; }), "has shape (16, 1), expected (8, 2)"));
  CHECK(says(complaint([](auto& all) { all[0].shape = "[8,3]"; }), "not what its shape (8, 3) says"));
  CHECK(says(complaint([](auto& all) { all[0].shape = "[-8,-2]"; }), "no sensible shape"));
  CHECK(says(complaint([](auto& all) { all[0].shape = "[4294967296,4294967296]"; }), "no sensible shape"));
  CHECK(says(complaint([](auto& all) { all[0].dtype = "F13"; }), "unknown type 'F13'"));
  CHECK(says(complaint([](auto& all) { all[3].dtype = "I8"; }), "is of type I8, expected U8"));
  CHECK(says(complaint([](auto& all) { all[0].dtype = "I16"; }), "expected a floating-point one"));
  CHECK(says(complaint([](auto& all) { all[5].bytes = floats(48, NAN); }), "NaN or infinity"));
  CHECK(says(complaint([](auto& all) { all[2].bytes = floats(6, 1.0f); }), "aabb is empty"));
  CHECK(says(complaint([](auto& all) { all[4] = {"background.image", "U8", "[0,3,3]", ""}; }), "no pixels"));
  CHECK(says(complaint(replaced(whole, "data_offsets\":[0,32]", "data_offsets\":[1,33]")), "overlap"));
  const std::string shorter = replaced(whole, "width\\\": 3", "width\\\":3");  // by the byte that the next adds
  CHECK(says(complaint(replaced(shorter, "data_offsets\":[0,32]", "data_offsets\":[0,9e9]")), "outside the file"));

  const auto meta = [](const char* from, const char* to) {
    return complaint(file_of(tensors(), replaced(kMetadata, from, to)));
  };
  CHECK(says(meta("avatar/4", "avatar/1"), "schema is 'dfanerf-avatar/1'"));
  CHECK(meta("avatar/4", "avatar/5").empty());  // tensors that are not packed
  CHECK(meta("avatar/4", "avatar/3").empty());  // the ones before: the head takes the pose as it is,
  CHECK(meta("avatar/4", "avatar/2").empty());  // and without generated motion
  CHECK(says(meta("3, ", "0, "), "width is 0"));
  CHECK(says(meta("6.0", "-1"), "focal_px is -1"));
  CHECK(says(meta("\\\"hidden\\\": 8", "\\\"hidden\\\": 8.5"), "hidden is 8.5"));
  CHECK(says(meta("true", "1"), "concat is of another type"));
  CHECK(says(meta("\\\"n_steps\\\"", "\\\"steps\\\""), "n_steps is missing"));
  CHECK(says(meta("\\\"field\\\"", "\\\"fields\\\""), "field settings are missing"));
  CHECK(says(meta("{\\\"schema", "\\\"schema"), "missing or damaged"));
}

TEST(a_packed_avatar_is_read) {
  const TemporaryFile file(file_of(packed_tensors(), kPackedMetadata));
  const Avatar avatar = load_avatar(file.path);
  CHECK(avatar.table.size() == 16 && avatar.blend_tables.size() == 16 && avatar.occupancy.size() == 512);
  CHECK(avatar.table[2] == 2.0f && avatar.table[3] == 0.0f && avatar.table[12] == -2.0f);  // entries 1 and 6
  CHECK_NEAR(avatar.table[13], 1.0 + 8.0 / 1024.0, 0.0);                                   // 128 / 127 as a float16
  CHECK(avatar.table[0] == 0.0f && avatar.table[14] == 0.0f && avatar.blend_tables[2] == 0.5f);
  for (int i = 0; i < 512; ++i) CHECK(avatar.occupancy[i] == (i < 64 || i >= 448));
}

TEST(a_damaged_packed_avatar_is_one_clear_error) {
  CHECK(says(packed_complaint([](auto& all) { all[0].dtype = "U8"; }), "'field.table' is of type U8, expected I8"));
  CHECK(says(packed_complaint([](auto& all) { all[0].bytes[1] = '\x80'; }), "'field.table' holds a code below -127"));
  CHECK(
      says(packed_complaint([](auto& all) { all[all.size() - 4].bytes = "\x43"; }), "'field.table' has shape (2, 2)"));
  CHECK(
      says(packed_complaint([](auto& all) { all[all.size() - 4].shape = "[1,1]"; }), "'field.kept' has shape (1, 1)"));
  CHECK(says(packed_complaint([](auto& all) { all[all.size() - 3].bytes = "\xff\x7f"; }),
             "'field.table_peaks' holds NaN"));
  CHECK(says(packed_complaint([](auto& all) { all.back().bytes = "\x01"; }), "'occupancy.bits' has shape (16)"));
  CHECK(says(packed_complaint([](auto& all) { all.erase(all.end() - 2); }), "'field.blend_tables_peaks' is missing"));
}

TEST(random_damage_is_an_avatar_error_or_harmless) {
  const std::string whole = file_of(tensors());
  std::mt19937 generator(1);
  for (int trial = 0; trial < 500; ++trial) {
    std::string damaged = whole;
    for (int k = 0; k < 1 + trial % 4; ++k)
      damaged[generator() % 3000] = static_cast<char>(generator());  // header and first tensors
    complaint(damaged);                                              // anything but an AvatarError ends the tests
  }
}

TEST(resampling_keeps_what_is_flat_and_the_mean) {
  CHECK(resample(std::vector<uint8_t>(7 * 5 * 3, 200), 7, 5, 20, 3) == std::vector<uint8_t>(20 * 3 * 3, 200));
  std::vector<uint8_t> ramp;
  for (int i = 0; i < 60; ++i)
    for (int c = 0; c < 3; ++c) ramp.push_back(static_cast<uint8_t>(4 * i));
  CHECK(resample(ramp, 60, 1, 60, 1) == ramp);
  double mean = 0.0;
  for (const uint8_t value : resample(ramp, 60, 1, 17, 1)) mean += value / 51.0;
  CHECK_NEAR(mean, 118.0, 0.5);
}
