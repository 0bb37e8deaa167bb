// The container of an avatar: a .safetensors file, https://huggingface.co/docs/safetensors: eight bytes of length
// (little endian), a JSON header that names every tensor's type, shape and place, then their bytes without gaps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dfanerf/avatar.h"

namespace dfanerf {

struct StoredTensor {
  std::string dtype;  // as the format spells it: F32, F16, BF16, F64, U8, ...
  std::vector<int64_t> shape;
  const uint8_t* bytes = nullptr;  // in the file's memory; aligned to nothing
  int64_t numel = 1;
};

class Safetensors {
 public:
  // Reads and validates a file. Throws AvatarError where it is missing, truncated, or its header contradicts itself.
  explicit Safetensors(const std::string& path);

  const std::string& path() const { return path_; }
  // The text stored under a metadata key; empty where there is none.
  std::string metadata(const std::string& key) const;

  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  // A tensor of exactly this shape as float32 (from F32, F16, BF16 or F64), all finite.
  std::vector<float> floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // A tensor of bytes; kAnyExtent allows any extent.
  std::vector<uint8_t> bytes(const std::string& name, const std::vector<int64_t>& shape) const;
  const StoredTensor& tensor(const std::string& name, const std::vector<int64_t>& shape) const;

  static constexpr int64_t kAnyExtent = -1;

 private:
  [[noreturn]] void fail(const std::string& what) const { throw AvatarError(path_ + ": " + what); }
  void read_header(const std::string& header, const uint8_t* data, uint64_t n_bytes);

  std::string path_;
  std::vector<uint8_t> memory_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace dfanerf
