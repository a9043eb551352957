#!/usr/bin/env bash
# What one device does, in under ten minutes on a GPU: the engine contract, parity with one prompt at
# a time, packed against vLLM (where it is installed), training, and the share of the card's peak.
#
#     bench/device.sh                      # cuda
#     DEVICE=cpu SMALL=1 bench/device.sh   # a rehearsal of the same steps in some minutes
#
# PYTHON names the interpreter, MOST the seconds that a step may take. The last line sums up; the
# exit code is 1 where a check failed.
set -u
cd "$(dirname "$0")/.."
DEVICE=${DEVICE:-cuda} SMALL=${SMALL:-} PYTHON=${PYTHON:-python}
# Seconds for each of four steps: one that hangs does not cost the others their turn, and all end
# within ten minutes.
MOST=${MOST:-140}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

step() { printf '\n== %s (%s s so far)\n' "$1" "$SECONDS"; }

contract=ok parity=ok
step "contract on $DEVICE"
PROMPTRANK_TEST_DEVICE=$DEVICE timeout -k 10 "$MOST" "$PYTHON" -m pytest -q -p no:cacheprovider \
    tests/test_engine_contract.py -m "not slow" -k "${SMALL:+order_is_kept and }(packed or plain)" ||
    contract=failed

for dtype in float32 bfloat16; do
    step "parity on $DEVICE in $dtype"
    timeout -k 10 "$MOST" "$PYTHON" -m promptrank parity movies/like --adapter movies --engine packed \
        --device "$DEVICE" --dtype "$dtype" --limit "$([ "$SMALL" ] && echo 1 || echo 8)" || parity=failed
done

step "rates on $DEVICE"
timeout -k 10 "$MOST" "$PYTHON" bench/device.py --device "$DEVICE" ${SMALL:+--small} || rates=failed

printf '\ncontract=%s parity=%s rates=%s seconds=%s\n' "$contract" "$parity" "${rates:-ok}" "$SECONDS"
[ "$contract$parity${rates:-ok}" = okokok ]
