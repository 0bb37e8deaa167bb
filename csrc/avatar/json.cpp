#include "avatar/json.h"

#include <charconv>
#include <cmath>
#include <cstdint>

namespace dfanerf {
namespace {

constexpr int kMaxDepth = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json value = any(0);
    skip_space();
    if (at_ != text_.size()) fail("something behind the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw JsonError(std::string(what) + " at byte " + std::to_string(at_));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json any(int depth) {
    if (depth > kMaxDepth) fail("too many brackets within each other");
    skip_space();
    Json value;
    if (take('{')) {
      value.kind = Json::Kind::object;
      members(value, depth);
    } else if (take('[')) {
      value.kind = Json::Kind::list;
      items(value, depth);
    } else if (peek() == '"') {
      value.kind = Json::Kind::text;
      value.text = text();
    } else if (take_word("true")) {
      value.kind = Json::Kind::boolean;
      value.number = 1.0;
    } else if (take_word("false")) {
      value.kind = Json::Kind::boolean;
    } else if (!take_word("null")) {
      value.kind = Json::Kind::number;
      value.number = number();
    }
    return value;
  }

  void members(Json& value, int depth) {
    if (take('}')) return;
    do {
      skip_space();
      if (peek() != '"') fail("a key is expected");
      std::string key = text();
      if (!take(':')) fail("':' is expected");
      if (!value.members.emplace(std::move(key), any(depth + 1)).second) fail("a key comes twice");
    } while (take(','));
    if (!take('}')) fail("',' or '}' is expected");
  }

  void items(Json& value, int depth) {
    if (take(']')) return;
    do value.items.push_back(any(depth + 1));
    while (take(','));
    if (!take(']')) fail("',' or ']' is expected");
  }

  double number() {
    // from_chars takes more than JSON does: "inf", "nan", ".5", "01".
    const std::size_t digits = at_ + (peek() == '-');
    const bool begins = digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9';
    const bool padded =
        digits + 1 < text_.size() && text_[digits] == '0' && text_[digits + 1] >= '0' && text_[digits + 1] <= '9';
    if (!begins || padded) fail("a value is expected");
    double value = 0.0;
    const char* first = text_.data() + at_;
    const auto [last, fault] = std::from_chars(first, text_.data() + text_.size(), value);
    if (fault != std::errc() || !std::isfinite(value)) fail("a number out of range");
    at_ += static_cast<std::size_t>(last - first);
    return value;
  }

  std::string text() {
    std::string found;
    ++at_;
    for (;;) {
      if (at_ >= text_.size()) fail("a text without an end");
      const char c = text_[at_++];
      if (c == '"') return found;
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a text");
      if (c == '\\')
        escape(found);
      else
        found += c;
    }
  }

  void escape(std::string& to) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const char letter = peek();
    ++at_;
    if (const auto place = kLetters.find(letter); place != std::string_view::npos) {
      to += kMeant[place];
      return;
    }
    if (letter != 'u') fail("an unknown escape");
    uint32_t code = four_digits();
    if (code >= 0xd800 && code < 0xdc00 && take_word("\\u")) {
      const uint32_t low = four_digits();
      if (low < 0xdc00 || low >= 0xe000) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xd800 && code < 0xe000) {
      fail("half of a surrogate pair");
    }
    append_utf8(to, code);
  }

  uint32_t four_digits() {
    uint32_t code = 0;
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    const auto [last, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || fault != std::errc() || last != digits.data() + 4) fail("four hexadecimal digits");
    at_ += 4;
    return code;
  }

  static void append_utf8(std::string& to, uint32_t code) {
    const auto byte = [&](uint32_t value) { to += static_cast<char>(value); };
    if (code < 0x80) return byte(code);
    if (code < 0x800) {
      byte(0xc0 | code >> 6);
    } else {
      if (code < 0x10000) {
        byte(0xe0 | code >> 12);
      } else {
        byte(0xf0 | code >> 18);
        byte(0x80 | (code >> 12 & 0x3f));
      }
      byte(0x80 | (code >> 6 & 0x3f));
    }
    byte(0x80 | (code & 0x3f));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Json parse_json(std::string_view text) {
  return Parser(text).document();
}

}  // namespace dfanerf
