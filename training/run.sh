#!/bin/sh
# Train and package all three models from $KENKYO_DATA into models/.
#
#   KENKYO_DATA=/data training/run.sh [model...]
#
# PYTHON   interpreter with torch, onnx, numpy, opencv and yaml (default python3)
# WORK     checkpoints (default training/.work); a run that was cut short goes on from there
# THREADS  threads for each training (default: number of cores)
# ORT      folder with node_modules/onnxruntime-node; when set, exports are checked against it
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${KENKYO_DATA:?set KENKYO_DATA to the data folder}"
python=${PYTHON:-python3}
modules='import cv2, numpy, onnx, torch, yaml'
if ! "$python" -c "$modules" 2>/dev/null; then
	if [ -z "${PYTHON:-}" ] && /usr/bin/python3 -c "$modules" 2>/dev/null; then
		python=/usr/bin/python3 # the distribution's own, behind another one in PATH
	else
		echo "$python lacks torch, onnx, numpy, opencv or yaml:" \
			"apt-get install python3-torch python3-onnx python3-numpy python3-opencv python3-yaml libopenblas0-pthread" >&2
		exit 1
	fi
fi
work=${WORK:-$here/.work}
threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
# Large buffers come and go with every step; keeping them saves a sixth of the time in page faults.
export GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1
export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads"
"$python" "$here/test_evaluate.py"
for model in ${*:-gram-stain blood-smear urine-sediment}; do
	nice -n 10 "$python" "$here/train.py" --model "$model" --work "$work" --threads "$threads"
	"$python" "$here/export.py" --model "$model" --work "$work" --ort "${ORT:-}"
done
