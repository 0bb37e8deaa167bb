#include "avatar/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <utility>

#include "avatar/json.h"

namespace dfanerf {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // as the format's own reader

int64_t item_size(const std::string& dtype) {
  static const std::pair<const char*, int64_t> kSizes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                                                           {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                                                           {"U8", 1},  {"BOOL", 1}};
  for (const auto& [name, size] : kSizes)
    if (dtype == name) return size;
  return 0;
}

// A whole number of [0, 2^53], or -1.
int64_t whole(const Json& value) {
  const bool fits = value.kind == Json::Kind::number && value.number >= 0.0 && value.number <= 0x1p53 &&
                    value.number == std::floor(value.number);
  return fits ? static_cast<int64_t>(value.number) : -1;
}

template <typename T>
T read_as(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const float mantissa = static_cast<float>(half & 1023) / 1024.0f;
  float magnitude = exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1.0f + mantissa, exponent - 15);
  if (exponent == 31) magnitude = mantissa == 0.0f ? INFINITY : NAN;
  return half >> 15 ? -magnitude : magnitude;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d)
    text += (d ? ", " : "") + (shape[d] == Safetensors::kAnyExtent ? std::string("any") : std::to_string(shape[d]));
  return text + ")";
}

}  // namespace

Safetensors::Safetensors(const std::string& path) : path_(path) {
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = stream ? static_cast<std::streamoff>(stream.tellg()) : -1;
  if (size < 0 || size == std::streamoff{INT64_MAX}) fail("cannot be opened");
  memory_.resize(static_cast<std::size_t>(size));
  stream.seekg(0);
  if (!stream.read(reinterpret_cast<char*>(memory_.data()), size)) fail("cannot be read");
  uint64_t n_header = 0;
  for (std::size_t i = 0; i < 8 && memory_.size() >= 8; ++i) n_header |= uint64_t{memory_[i]} << 8 * i;
  if (memory_.size() < 8 || n_header > memory_.size() - 8 || n_header > kMaxHeader)
    fail("truncated or not a safetensors file");
  const auto* header = reinterpret_cast<const char*>(memory_.data()) + 8;
  try {
    read_header(std::string(header, n_header), memory_.data() + 8 + n_header, memory_.size() - 8 - n_header);
  } catch (const JsonError& fault) {
    fail(std::string("truncated or not a safetensors file (") + fault.what() + ")");
  }
}

void Safetensors::read_header(const std::string& header, const uint8_t* data, uint64_t n_bytes) {
  const Json root = parse_json(header);
  if (root.kind != Json::Kind::object) fail("the header is no JSON object");
  std::vector<std::pair<uint64_t, uint64_t>> places;
  for (const auto& [name, entry] : root.members) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.members) metadata_[key] = value.text;
      continue;
    }
    const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
    if (!dtype || !shape || !offsets || shape->kind != Json::Kind::list || offsets->items.size() != 2)
      fail("the header is damaged at tensor '" + name + "'");
    StoredTensor tensor;
    tensor.dtype = dtype->text;
    const int64_t size = item_size(tensor.dtype);
    if (size == 0) fail("tensor '" + name + "' is of the unknown type '" + tensor.dtype + "'");
    for (const Json& extent : shape->items) {
      tensor.shape.push_back(whole(extent));
      const bool fits =
          tensor.shape.back() >= 0 && !__builtin_mul_overflow(tensor.numel, tensor.shape.back(), &tensor.numel);
      if (!fits) fail("tensor '" + name + "' has no sensible shape");
    }
    const int64_t begin = whole(offsets->items[0]), end = whole(offsets->items[1]);
    int64_t needed = 0;
    if (begin < 0 || end < begin || static_cast<uint64_t>(end) > n_bytes)
      fail("tensor '" + name + "' lies outside the file; is it truncated?");
    if (__builtin_mul_overflow(tensor.numel, size, &needed) || needed != end - begin)
      fail("tensor '" + name + "' takes " + std::to_string(end - begin) + " bytes, which is not what its shape " +
           shape_text(tensor.shape) + " says");
    tensor.bytes = data + begin;
    places.emplace_back(begin, end);
    tensors_.emplace(name, std::move(tensor));
  }
  std::sort(places.begin(), places.end());
  uint64_t reached = 0;
  for (const auto& [begin, end] : places) {
    if (begin != reached) fail("tensors overlap or leave gaps in the file");
    reached = end;
  }
  if (reached != n_bytes) fail("the file is longer or shorter than its tensors");
}

std::string Safetensors::metadata(const std::string& key) const {
  const auto at = metadata_.find(key);
  return at == metadata_.end() ? std::string() : at->second;
}

const StoredTensor& Safetensors::tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) fail("tensor '" + name + "' is missing");
  const std::vector<int64_t>& found = at->second.shape;
  const bool same = std::equal(found.begin(), found.end(), shape.begin(), shape.end(),
                               [](int64_t have, int64_t want) { return want == kAnyExtent || have == want; });
  if (!same) fail("tensor '" + name + "' has shape " + shape_text(found) + ", expected " + shape_text(shape));
  return at->second;
}

std::vector<float> Safetensors::floats(const std::string& name, const std::vector<int64_t>& shape) const {
  const StoredTensor& stored = tensor(name, shape);
  std::vector<float> values(static_cast<std::size_t>(stored.numel));
  const auto convert = [&](int64_t size, auto&& read) {
    for (int64_t i = 0; i < stored.numel; ++i) values[static_cast<std::size_t>(i)] = read(stored.bytes + i * size);
  };
  if (stored.dtype == "F32") {
    convert(4, read_as<float>);
  } else if (stored.dtype == "F16") {
    convert(2, [](const uint8_t* bytes) { return half_to_float(read_as<uint16_t>(bytes)); });
  } else if (stored.dtype == "BF16") {
    convert(2, [](const uint8_t* bytes) {
      const uint32_t word = uint32_t{read_as<uint16_t>(bytes)} << 16;
      return read_as<float>(reinterpret_cast<const uint8_t*>(&word));
    });
  } else if (stored.dtype == "F64") {
    convert(8, [](const uint8_t* bytes) { return static_cast<float>(read_as<double>(bytes)); });
  } else {
    fail("tensor '" + name + "' is of type " + stored.dtype + ", expected a floating-point one");
  }
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
    fail("tensor '" + name + "' holds NaN or infinity");
  return values;
}

std::vector<uint8_t> Safetensors::bytes(const std::string& name, const std::vector<int64_t>& shape) const {
  const StoredTensor& stored = tensor(name, shape);
  if (stored.dtype != "U8") fail("tensor '" + name + "' is of type " + stored.dtype + ", expected U8");
  return {stored.bytes, stored.bytes + stored.numel};
}

}  // namespace dfanerf
