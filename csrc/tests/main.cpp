// Runs every registered test.
#include "tests/test.h"

int main() {
  for (const auto& test : dfanerf::test::cases()) {
    const int before = dfanerf::test::failures();
    test.run();
    if (dfanerf::test::failures() != before) std::printf("FAILED %s\n", test.name);
  }
  std::printf("C++: ran %zu tests, %d checks failed\n", dfanerf::test::cases().size(), dfanerf::test::failures());
  return dfanerf::test::failures() == 0 ? 0 : 1;
}
