#!/usr/bin/env bash
# Everything that needs a GPU, on a bare machine with one, in under ten minutes: builds the extension for the GPU that
# is there, runs the GPU tests and the operators' tests, times operators and renderer, trains preset full on a clip that
# the bundled presenter is rendered into, writes JSON, prints a summary.
#
#   benchmarks/gpu_suite.sh [--dry-run]
#
# Needs nvcc, cmake, ninja, Python with torch (CUDA), triton, pybind11, numpy, Pillow, safetensors and pytest; no network.
# A step that fails or takes too long does not stop the ones behind it, but the exit status is then 1.
#
#   OUT                      folder for the JSON (default: benchmarks/results)
#   PYTHON                   the interpreter (default: .venv/bin/python, else python3)
#   BUDGET_S                 seconds for all steps together (default: 570)
#   DFANERF_COMMIT           the commit, where the tree was copied without its history
#   DFANERF_GPU_SUITE_CPU=1  the same steps on the CPU at tiny sizes, to try the script itself; builds nothing
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

dry_run=''
case "${1:-}" in
  "") ;;
  --dry-run) dry_run=1 ;;
  *) echo "gpu_suite: unknown option '$1'; usage: benchmarks/gpu_suite.sh [--dry-run]" >&2; exit 2 ;;
esac

out=${OUT:-benchmarks/results}
budget_s=${BUDGET_S:-570}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
# Rooms whose tests need neither sound nor video nor face tracking, which a bare machine lacks.
rooms=(tests/ops tests/backends tests/render tests/field tests/train/test_field_device.py)
if [ "${DFANERF_GPU_SUITE_CPU:-}" = 1 ]; then
  device=cpu name=cpu architecture='' require_gpu=()
  rooms=(tests/ops/test_composite_rays.py tests/backends/test_tcnn.py)
  operators=(tests/ops/test_composite_rays.py)
  ops_effort=(--samples 500 --calls 3 --seconds 0.1 --threads 1)
  render_effort=(--sizes 12 --frames 2 --quality-frames 1 --threads 1)
  train_effort=(--preset tiny --size 48 --frames 66 --minutes 0.3)
else
  device=cuda require_gpu=(--require-gpu)
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d '. ')
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' _)
  name=${name%_}
  operators=(tests/ops tests/backends)
  ops_effort=(--samples 1048576 --calls 50 --seconds 1)
  render_effort=(--avatar presenter --sizes 256 512 1024 --frames 300 --seconds 4)
  train_effort=(--preset full --size 512 --frames 500 --minutes 2)
  if [ -z "$architecture" ] && [ -z "$dry_run" ]; then
    echo "gpu_suite: nvidia-smi finds no GPU here; DFANERF_GPU_SUITE_CPU=1 tries the script without one" >&2
    exit 1
  fi
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
ops_json=$out/ops_${name:-gpu}.json
render_json=$out/render_${name:-gpu}.json
train_json=$out/train_${name:-gpu}.json

summary=()
failed=0

# step NAME LIMIT_S COMMAND...: run under a time limit, or only say what would be run.
step() {
  local title=$1 limit_s=$2 started=$SECONDS left_s status
  shift 2
  if [ -n "$dry_run" ]; then
    echo "$title (at most ${limit_s} s): $*"
    return
  fi
  left_s=$((budget_s - SECONDS))
  if [ "$left_s" -lt 5 ]; then
    summary+=("FAILED $title: no time left of $budget_s s")
    failed=1
    return
  fi
  [ "$left_s" -lt "$limit_s" ] && limit_s=$left_s
  echo "== $title"
  timeout --kill-after=10 "$limit_s" "$@"
  status=$?
  if [ "$status" -eq 0 ]; then
    summary+=("ok     $title: $((SECONDS - started)) s")
  elif [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    summary+=("FAILED $title: stopped after $limit_s s")
    failed=1
  else
    summary+=("FAILED $title: status $status after $((SECONDS - started)) s")
    failed=1
  fi
}

[ -n "$dry_run" ] || mkdir -p "$out" build
if [ "$device" = cuda ]; then
  step "build for sm_${architecture:-?}" 240 env DFANERF_BUILD=cuda "DFANERF_CUDA_ARCHITECTURES=${architecture:-?}-real" \
    "$python" setup.py -q build_ext --inplace
fi
step "GPU tests" 180 "$python" -m pytest -q -m gpu "${require_gpu[@]}" --junitxml=build/gpu-tests.xml "${rooms[@]}"
step "operators" 240 "$python" benchmarks/bench_ops.py --device "$device" "${ops_effort[@]}" --json "$ops_json"
step "renderer" 240 "$python" benchmarks/bench_render.py --device "$device" "${render_effort[@]}" --quality \
  --json "$render_json"
step "training" 240 "$python" benchmarks/bench_train.py --device "$device" "${train_effort[@]}" --json "$train_json"
step "results are well formed" 60 "$python" benchmarks/result_schema.py "$ops_json" "$render_json" "$train_json"
step "tests of the operators" 180 "$python" -m pytest -q -m "not gpu" "${operators[@]}"
[ -n "$dry_run" ] && exit 0

echo "== summary (${SECONDS} s)"
printf '%s\n' "${summary[@]}"
exit "$failed"
