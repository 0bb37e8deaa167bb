// Runs every registered test but those whose file or name contains a word (--without WORD, as often as wanted); with
// --variants, only names the SIMD variants that this processor runs (DFANERF_SIMD).
#include <cstring>

#include "dfanerf/cpu_features.h"
#include "tests/test.h"

namespace {

void print_variants() {
  for (const auto level : {dfanerf::SimdLevel::portable, dfanerf::SimdLevel::avx2, dfanerf::SimdLevel::avx512})
    if (level <= dfanerf::cpu_features().level) std::printf("%s\n", dfanerf::name(level));
}

bool left_out(const dfanerf::test::Case& test, int argc, char** argv) {
  const char* folder_end = std::strrchr(test.file, '/');  // folders may be named as anybody likes
  const char* file = folder_end != nullptr ? folder_end + 1 : test.file;
  for (int i = 1; i + 1 < argc; i += 2)
    if (std::strstr(file, argv[i + 1]) != nullptr || std::strstr(test.name, argv[i + 1]) != nullptr) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--variants") == 0) {
    print_variants();
    return 0;
  }
  int n_run = 0;
  for (const auto& test : dfanerf::test::cases()) {
    if (left_out(test, argc, argv)) continue;
    ++n_run;
    const int before = dfanerf::test::failures();
    test.run();
    if (dfanerf::test::failures() != before) std::printf("FAILED %s\n", test.name);
  }
  const int failures = dfanerf::test::failures();
  std::printf("C++ (%s): ran %d tests, %d checks failed\n", dfanerf::name(dfanerf::cpu_features().level), n_run,
              failures);
  return failures == 0 ? 0 : 1;
}
