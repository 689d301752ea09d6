#!/usr/bin/env bash
# The scheduler, and the Ray node on its host that its runners attach to. One is of no use without
# the other: whichever ends first ends both, and the restart policy starts both again.
set -uo pipefail

ray start --address="$NGPU_RAY_ADDRESS" --num-cpus=0 --num-gpus=0 \
    --object-store-memory=200000000 --block &
node=$!
ngpu scheduler &
scheduler=$!

# The scheduler first: its runners give their packs back while the node still serves them.
end_both() {
    kill -TERM "$scheduler" 2>/dev/null
    wait "$scheduler"
    kill -TERM "$node" 2>/dev/null
    wait "$node"
}

trap 'end_both; exit 0' TERM INT
wait -n
# If it was the node, its runners wait in vain for it, and the scheduler for them.
(sleep 2; kill -0 "$node" 2>/dev/null || kill -KILL "$scheduler") 2>/dev/null &
end_both
exit 1
