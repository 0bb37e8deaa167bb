// Runs every registered test; with --variants, names the SIMD variants that this processor runs (DFANERF_SIMD).
#include <cstring>

#include "dfanerf/cpu_features.h"
#include "tests/test.h"

namespace {

void print_variants() {
  for (const auto level : {dfanerf::SimdLevel::portable, dfanerf::SimdLevel::avx2, dfanerf::SimdLevel::avx512})
    if (level <= dfanerf::cpu_features().level) std::printf("%s\n", dfanerf::name(level));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--variants") == 0) {
    print_variants();
    return 0;
  }
  for (const auto& test : dfanerf::test::cases()) {
    const int before = dfanerf::test::failures();
    test.run();
    if (dfanerf::test::failures() != before) std::printf("FAILED %s\n", test.name);
  }
  const int failures = dfanerf::test::failures();
  std::printf("C++ (%s): ran %zu tests, %d checks failed\n", dfanerf::name(dfanerf::cpu_features().level),
              dfanerf::test::cases().size(), failures);
  return failures == 0 ? 0 : 1;
}
