// A small frame for tests that need no Python: TEST(name) { CHECK(condition); CHECK_NEAR(a, b, tolerance); }
#pragma once

#include <cmath>
#include <cstdio>
#include <vector>

namespace dfanerf::test {

struct Case {
  const char* file;
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* file, const char* name, void (*run)()) { cases().push_back({file, name, run}); }
};

}  // namespace dfanerf::test

#define TEST(name)                                                               \
  static void test_##name();                                                     \
  static dfanerf::test::Register register_##name{__FILE__, #name, &test_##name}; \
  static void test_##name()

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      std::printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++dfanerf::test::failures();                                          \
    }                                                                       \
  } while (false)

#define CHECK_NEAR(found, expected, tolerance)                                                      \
  do {                                                                                              \
    const double found_ = (found), expected_ = (expected);                                          \
    if (!(std::fabs(found_ - expected_) <= (tolerance))) {                                          \
      std::printf("%s:%d: %s is %g, expected %g\n", __FILE__, __LINE__, #found, found_, expected_); \
      ++dfanerf::test::failures();                                                                  \
    }                                                                                               \
  } while (false)
