// JSON as it stands in the header and the metadata of an avatar file (RFC 8259).
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace dfanerf {

// Says what is wrong and at which byte.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Json {
  enum class Kind { null, boolean, number, text, list, object };
  Kind kind = Kind::null;
  double number = 0.0;  // of a boolean, 0 or 1
  std::string text;     // UTF-8
  std::vector<Json> items;
  std::map<std::string, Json, std::less<>> members;

  // A member of an object; null where there is none, or this is no object.
  const Json* find(std::string_view key) const {
    const auto at = members.find(key);
    return at == members.end() ? nullptr : &at->second;
  }
};

// Throws JsonError on anything but one JSON value: also on a key that comes twice, a number that a double does not
// hold, and more than 64 brackets within each other.
Json parse_json(std::string_view text);

}  // namespace dfanerf
