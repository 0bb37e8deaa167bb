#include "avatar/packing.h"

#include <algorithm>
#include <cstring>

namespace dfanerf {
namespace {

constexpr int64_t kBlockEntries = 64, kFeatures = 2, kWordBytes = 8;
constexpr int kLargestCode = 127;

// To the 11 significant bits of a float16, to even: what Python keeps, so that both render the same tables.
float rounded_to_half(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  word = (word + 0xfff + (word >> 13 & 1)) & ~uint32_t{0x1fff};
  std::memcpy(&value, &word, sizeof word);
  return value;
}

}  // namespace

std::vector<int64_t> kept_rows(const Safetensors& file, const std::string& name, int64_t n) {
  const std::vector<uint8_t> bits = file.bytes(name, {n / 8});
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < n; ++i)
    if (bits[static_cast<std::size_t>(i / 8)] >> (i % 8) & 1) kept.push_back(i);
  return kept;
}

std::vector<float> restored_tables(const Safetensors& file, const std::string& name, std::vector<int64_t> leading,
                                   const std::vector<int64_t>& kept, int64_t entries) {
  const auto n_kept = static_cast<int64_t>(kept.size()), n_blocks = (n_kept + kBlockEntries - 1) / kBlockEntries;
  const int64_t n_tables = leading.empty() ? 1 : leading[0];
  std::vector<int64_t> of_codes = leading;
  of_codes.insert(of_codes.end(), {n_kept, kFeatures});
  leading.push_back(n_blocks);
  const StoredTensor& codes = file.tensor(name, of_codes);
  if (codes.dtype != "I8")
    throw AvatarError(file.path() + ": tensor '" + name + "' is of type " + codes.dtype + ", expected I8");
  const std::vector<float> peaks = file.floats(name + "_peaks", leading);
  std::vector<float> values(static_cast<std::size_t>(n_tables * entries * kFeatures), 0.0f);
  for (int64_t t = 0; t < n_tables; ++t)
    for (int64_t i = 0; i < n_kept; ++i) {
      const float peak = peaks[static_cast<std::size_t>(t * n_blocks + i / kBlockEntries)];
      const auto* code = reinterpret_cast<const int8_t*>(codes.bytes) + (t * n_kept + i) * kFeatures;
      float* value = values.data() + (t * entries + kept[static_cast<std::size_t>(i)]) * kFeatures;
      for (int64_t f = 0; f < kFeatures; ++f) {
        if (code[f] < -kLargestCode) throw AvatarError(file.path() + ": tensor '" + name + "' holds a code below -127");
        value[f] = rounded_to_half(static_cast<float>(code[f]) * peak / static_cast<float>(kLargestCode));
      }
    }
  return values;
}

std::vector<uint8_t> restored_words(const Safetensors& file, int64_t n_bytes) {
  if (n_bytes % (8 * kWordBytes) != 0)
    throw AvatarError(file.path() + ": tensor 'occupancy.kept' is there, but occupancy is not whole words of 8 bytes");
  const std::vector<int64_t> kept = kept_rows(file, "occupancy.kept", n_bytes / kWordBytes);
  const std::vector<uint8_t> words = file.bytes("occupancy.bits", {static_cast<int64_t>(kept.size()) * kWordBytes});
  std::vector<uint8_t> bytes(static_cast<std::size_t>(n_bytes), 0);
  for (std::size_t i = 0; i < kept.size(); ++i)
    std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(i) * kWordBytes, kWordBytes,
                bytes.begin() + static_cast<std::ptrdiff_t>(kept[i]) * kWordBytes);
  return bytes;
}

}  // namespace dfanerf
