#!/usr/bin/env bash
# A speech synthesiser speaks through the avatar: speak_text.sh TEXT [options of dfanerf-live, e.g. --window --voice]
set -euo pipefail
text=${1:?speak_text.sh TEXT [options of dfanerf-live]}
espeak-ng --stdout "$text" | "${DFANERF_LIVE:-dfanerf-live}" --audio - "${@:2}"
