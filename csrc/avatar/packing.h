// The largest tensors of an avatar as its file holds them: dfanerf_rt/packing.py says how, and why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "avatar/safetensors.h"

namespace dfanerf {

// Which of n rows the file holds, by a tensor of a bit a row, the lowest bit first; ascending. n is a multiple of 8.
std::vector<int64_t> kept_rows(const Safetensors& file, const std::string& name, int64_t n);

// int8 codes of shape (*leading, kept, 2) with float peaks (*leading, blocks) to (*leading, entries, 2) floats; 0 where
// an entry was left out. Throws AvatarError where they do not fit each other.
std::vector<float> restored_tables(const Safetensors& file, const std::string& name, std::vector<int64_t> leading,
                                   const std::vector<int64_t>& kept, int64_t entries);

// "occupancy.bits" without the words that are 0 to all of its n_bytes.
std::vector<uint8_t> restored_words(const Safetensors& file, int64_t n_bytes);

}  // namespace dfanerf
