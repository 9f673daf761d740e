#!/usr/bin/env bash
# Runs pytest on one backend after another: run_backends.sh SUITE BACKEND... -- [pytest arguments]
# SUITE is quick, rest (what quick leaves out) or all; tests/conftest.py says what each backend runs.
# Every backend runs even if one before it failed; the exit status tells whether any did, or none ran a
# test.
set -u
cd "$(dirname "$0")/.."

export KERAS_DENSE_SUITE="$1"
shift
backends=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do backends+=("$1"); shift; done
[ $# -gt 0 ] && shift
if [ ${#backends[@]} -eq 0 ]; then
    echo "run_backends.sh SUITE BACKEND... -- [pytest arguments]: no backend is named" >&2
    exit 2
fi

export CUDA_VISIBLE_DEVICES=""     # the same numbers wherever the tests run
export TF_CPP_MIN_LOG_LEVEL=2 TF_ENABLE_ONEDNN_OPTS=0
export KERAS_HOME="${TMPDIR:-/tmp}/keras_dense_home.$$"   # nobody's keras.json decides anything
export MPLBACKEND=Agg
# XLA, for JAX and TensorFlow, compiles each network for each size; here compiling has to be quick. At
# level 0 convolutions would take minutes with fusion emitters.
export XLA_FLAGS="${XLA_FLAGS:---xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false}"
# What one test has compiled, no other test and no other worker compiles again.
export JAX_COMPILATION_CACHE_DIR="$KERAS_HOME/jax" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
workers="${WORKERS:-2}"
if [ "$workers" -gt 1 ]; then
    # One thread a worker: more of them would only wait for each other.
    export OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
    parallel=(-n "$workers" --dist worksteal)
else
    parallel=()
fi

failed=() ran=0
export KERAS_DENSE_BACKENDS="${backends[*]}"
for backend in "${backends[@]}"; do
    echo "== $KERAS_DENSE_SUITE tests on $backend"
    KERAS_BACKEND="$backend" "${BIN:-.venv/bin}/python" -m pytest -q ${parallel[@]+"${parallel[@]}"} "$@"
    case $? in
        0) ran=1 ;;
        5) ;;  # no test is left to this backend: not a failure if another one has some
        *) ran=1; failed+=("$backend") ;;
    esac
done
rm -rf "$KERAS_HOME"

if [ ${#failed[@]} -gt 0 ]; then
    echo "Failed on: ${failed[*]}"
    exit 1
fi
if [ "$ran" -eq 0 ]; then
    echo "No test ran" >&2
    exit 5
fi
echo "Passed on: ${backends[*]}"
