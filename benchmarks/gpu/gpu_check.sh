#!/usr/bin/env bash
# Check of everything on a GPU machine without a network. Each step has its own time limit; its results are in OUT however it ends.
# See README.md beside this file.
# Variables and their defaults: STEPS (in this order), BUDGET (seconds in all, 520), OUT (.gpu/out), DEVICE (cuda), SMOKE=1 (tiny, to
# try the check on a CPU), SLOW (factor of the limits of the steps, 1), PRECISION (of the runs, the second loop and the table,
# tf32), PACK (runs of the table at once, 4), PYTHON (python3), TABLE (methods of the table), SEEDS (of the table).
set -u
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
KIT=$REPO/.gpu GPU=$REPO/benchmarks/gpu
BUDGET=${BUDGET:-520} SLOW=${SLOW:-1} DEVICE=${DEVICE:-cuda} SMOKE=${SMOKE:-} PYTHON=${PYTHON:-python3} OUT=${OUT:-$KIT/out}
STEPS=${STEPS:-tests presets levers ranks photographs pack levered loop_bf16 loop_tf32 erm ldam_drw loop table}
TABLE=${TABLE:-erm ldam_drw balanced_softmax ce_drw crt lws drs class_balanced_sampling inverse_frequency logit_adjustment mixup cmo}
SEEDS=${SEEDS:-0 1 2}
[[ $PYTHON == */* ]] && PYTHON=$(realpath -s "$PYTHON")  # the steps run in another folder
[[ $DEVICE == cpu ]] && PRECISION=fp32 || PRECISION=${PRECISION:-tf32}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
BASE=$(mktemp -d /tmp/ltrun-gpu.XXXX) LOG=$OUT/check.log
SITE=$BASE/site WORK=$BASE/work
FOUND=$WORK/found
mkdir -p "$SITE" "$FOUND"
: >"$LOG" >"$FOUND/steps.jsonl"
export PYTHONUNBUFFERED=1 COLUMNS=160 LTRUN_CACHE=$BASE/cache TORCHINDUCTOR_CACHE_DIR=$BASE/inductor TRITON_CACHE_DIR=$BASE/triton
export PYTHONPATH=$SITE:$REPO/benchmarks
say() { echo "[${SECONDS}s] $*" | tee -a "$LOG"; }
collect() { "$PYTHON" "$GPU/collect.py" "$WORK" "$OUT" >>"$LOG" 2>&1 || say "collect.py failed; see check.log"; }
finish() {
  kill $(jobs -p) 2>/dev/null
  wait
  rm -rf "$BASE"
}
trap finish EXIT

# Packages: unpack the wheels; copy ltrun with conf/, to which a link in ltrun leads.
for wheel in "$KIT"/whl/*.whl; do [[ -e $wheel ]] && "$PYTHON" -m zipfile -e "$wheel" "$SITE"; done
cp -rL "$REPO/ltrun" "$REPO/tests" "$SITE" || exit 2
cp "$REPO"/benchmarks/results/reproduction.json "$FOUND" 2>/dev/null  # the runs of all machines, where the table goes on
cd "$WORK" || exit 2
say "commit $(cat "$KIT/COMMIT" 2>/dev/null || echo unknown)"
command -v nvidia-smi >/dev/null && nvidia-smi >>"$LOG" 2>&1
"$PYTHON" - >>"$LOG" 2>&1 <<'PY' || { say "$PYTHON cannot import torch or ltrun; PYTHON=... names another interpreter"; tail -n 5 "$LOG"; exit 3; }
import torch, ltrun.conf, ltrun.engine.run
print("torch", torch.__version__, "cuda", torch.version.cuda, "cudnn", torch.backends.cudnn.version(), torch.get_num_threads(), "threads")
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device")
PY
tail -n 2 "$LOG"

# step NAME SECONDS COMMAND...: runs the command, and stops it with its process group after so many seconds or when the budget is over
step() {
  local name=$1 limit=$(($2 * SLOW)) left=$((BUDGET - SECONDS - 8)) begun=$SECONDS code
  shift 2
  ((limit > left)) && limit=$left
  if ((limit < 10)); then say "$name: no time is left"; return; fi
  say "$name: begins, at most $limit s"
  timeout -k 5 "$limit" "$@" >"$WORK/$name.log" 2>&1
  code=$?
  { echo "===== $name: exit code $code after $((SECONDS - begun)) s: $*"; cat "$WORK/$name.log"; } >>"$LOG"
  echo "{\"step\": \"$name\", \"code\": $code, \"seconds\": $((SECONDS - begun)), \"limit\": $limit}" >>"$FOUND/steps.jsonl"
  say "$name: exit code $code after $((SECONDS - begun)) s"
  grep -v '^ *$' "$WORK/$name.log" | tail -n 14 | cut -c 1-220
  collect
}

data=(dataset=cifar100_lt "dataset.root=$KIT/data" dataset.profile=as_is)
run=("$PYTHON" -m ltrun "${data[@]}" "runtime.device=$DEVICE" "outputs=$WORK/outputs")
tiny=(epochs=1 network=resnet8 batch_size=512 runtime.threads=1) table=(--pack "${PACK:-4}" "runtime.precision=$PRECISION")
common=(--device "$DEVICE") presets=(--processes 6)
if [[ -n $SMOKE ]]; then
  run+=("${tiny[@]}") table=(--pack 1 "${tiny[@]}") common+=(--smoke --threads 1)
  presets=(--processes 1 --only fallback method=erm)
else
  run+=(epochs=200)
fi
# bench NAME SECONDS SCRIPT RECORD WORDS...: runs a benchmark as a step
bench() { step "$1" "$2" "$PYTHON" "$REPO/benchmarks/$3.py" "${common[@]}" --json "$FOUND/$4.json" "${@:5}"; }

# Beside the first steps, which measure nothing: decode the images once, and fill inductor's cache.
warm=
if [[ $STEPS =~ levered|erm|ldam_drw|table ]]; then timeout 60 "$PYTHON" -m ltrun data "${data[@]}" >"$WORK/decode.log" 2>&1 & fi
if [[ $STEPS == *levers* && $DEVICE == cuda ]]; then
  timeout 60 nice -n 5 "$PYTHON" "$GPU/levers.py" --warm --device cuda >"$WORK/warm.log" 2>&1 &
  warm=$!
fi

for name in $STEPS; do
  case $name in
  tests)
    step tests 45 "$PYTHON" -m pytest "$SITE"/tests/unit/{kernels/test_images.py,engine/test_step.py} -p no:cacheprovider -rA \
      -k "replayed or failed_attempt or gpu_gives"
    ;;
  presets) bench presets 60 gpu/presets presets "${presets[@]}" ;;
  levers)
    [[ -z $warm ]] || wait "$warm"  # it would disturb the times
    bench levers 170 gpu/levers levers --time $((155 * SLOW))
    ;;
  ranks) bench ranks 70 gpu/ranks ranks --time $((55 * SLOW)) ;;
  photographs) bench photographs 70 gpu/photographs photographs --time $((50 * SLOW)) ;;
  pack) bench pack 100 gpu/lanes lanes --time $((88 * SLOW)) --levers "$FOUND/levers.json" ;;
  levered)
    read -ra levers < <("$PYTHON" "$GPU/levers.py" --words "$PRECISION" --json "$FOUND/levers.json" 2>>"$LOG")
    if [[ -z ${levers[*]} ]]; then say "levered: no lever is to be switched on in $PRECISION"; continue; fi
    step levered 110 "${run[@]}" method=erm "runtime.precision=$PRECISION" "${levers[@]}" "outputs=$WORK/levered"
    ;;
  probe) bench probe 80 gpu/probe probe ;;
  erm) step erm 120 "${run[@]}" method=erm "runtime.precision=$PRECISION" ;;
  ldam_drw) step ldam_drw 120 "${run[@]}" method=ldam_drw "runtime.precision=$PRECISION" ;;
  loop) bench loop 45 step step-fp32 --repeats 2 ;;
  loop_tf32) bench loop_tf32 45 step "step-$PRECISION" --repeats 2 --precision "$PRECISION" ;;
  loop_bf16) [[ $DEVICE == cpu ]] || bench loop_bf16 45 step step-bf16 --repeats 2 --precision bf16 ;;
  floor) bench floor 60 floor floor --repeats 3 ;;
  table)
    left=$((BUDGET - SECONDS - 15))
    LTRUN_OUTPUTS=$WORK/outputs step table $((left + 5)) "$PYTHON" "$REPO/benchmarks/reproduce.py" --data "$KIT/data" \
      --device "$DEVICE" --seeds "$SEEDS" --methods "$TABLE" --time "$left" --into "$FOUND" "${table[@]}"
    ;;
  *) say "$name: there is no such step" ;;
  esac
done
collect
say "over"
cat "$OUT/summary.md"
