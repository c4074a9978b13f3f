#!/bin/sh
# Runs one of Croupier's programs on the pinned runtime: croupier-launch.sh ENTRY-POINT [ARGUMENT...]
# Called by the launchers beside it, which pass on their own arguments.
set -eu

self=$(readlink -f -- "$0")
root=${self%/bin/*}
entry=$1
shift

node=$root/node_modules/.bin/node
if [ ! -x "$node" ]; then
    node=$(command -v node || true)
    major=0
    if [ -n "$node" ]; then
        major=$("$node" -p 'process.versions.node.split(".")[0]' 2>/dev/null) || major=0
    fi
    if [ "${major:-0}" -lt 26 ]; then
        {
            if [ "${major:-0}" -eq 0 ]; then
                echo "error: there is no Node.js, neither in $root/node_modules nor in PATH"
            else
                echo "error: Node.js $major cannot run Croupier, which needs 26 or newer"
            fi
            echo "what to do: Run npm start in $root, which brings the pinned runtime."
            echo "code: runtime.unsupported"
        } >&2
        exit 3
    fi
fi

UV_THREADPOOL_SIZE=${UV_THREADPOOL_SIZE:-4}
# Halves the start-up time; where the directory cannot be written, Node goes without.
NODE_COMPILE_CACHE=${NODE_COMPILE_CACHE:-$root/node_modules/.cache/compile}
export UV_THREADPOOL_SIZE NODE_COMPILE_CACHE
# TLS connections keep large buffers of which they use little: apart from the heap, the rest costs no memory.
GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.mmap_threshold=16384:glibc.malloc.mmap_max=32768}
export GLIBC_TUNABLES
exec "$node" "$root/$entry" "$@"
