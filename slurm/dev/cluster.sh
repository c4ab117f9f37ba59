# Sourced by the scripts beside it: which cluster they mean, and how its processes are found and stopped.
# $SLURM_DEV names its folder; without it, the one that $SLURM_CONF points into, and then .slurm-dev in the checkout.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "${SLURM_DEV:-}" ] || SLURM_DEV=$(dirname "${SLURM_CONF:-$HERE/../../.slurm-dev/slurm.conf}")
SLURM_DEV=$(realpath -m "$SLURM_DEV")
export SLURM_CONF=$SLURM_DEV/slurm.conf
PATH=$PATH:/usr/sbin  # Debian keeps the daemons there, which is not on everybody's path

fail() { echo "slurm/dev: $*" >&2; exit 1; }

must_be_ours() {  # before anything is killed: $SLURM_CONF may point to the cluster of a whole institute
  grep -qs '^# A throw-away cluster' "$SLURM_CONF" || fail "$SLURM_CONF is not of a cluster that slurm/dev/up made"
}

alive() {  # a zombie that waits for a slow parent counts as gone
  [ -d "/proc/$1" ] && [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)" != Z ]
}

stop() {  # of every pid file named: SIGTERM, and after five seconds SIGKILL
  local file pid pids=()
  for file in "$@"; do
    [ -f "$file" ] && pid=$(cat "$file") && [ -n "$pid" ] && alive "$pid" || continue
    kill "$pid" 2>/dev/null || true
    pids+=("$pid")
  done
  for _ in $(seq 100); do
    pids=($(for pid in "${pids[@]}"; do if alive "$pid"; then echo "$pid"; fi; done))
    [ "${#pids[@]}" -eq 0 ] && break
    sleep 0.05
  done
  [ "${#pids[@]}" -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
  rm -f "$@"
}

processes() {  # processes of this cluster's jobs: `processes`, or on one node `processes n2`
  local proc file="slurmd.${1:-*}.log"
  # The steps' keepers write to the log of their node; what they started has the node's name in its environment.
  find /proc/[0-9]*/fd -lname "$SLURM_DEV/log/$file" 2>/dev/null | cut -d/ -f3
  for proc in /proc/[0-9]*; do
    { grep -qzxF "SLURM_CONF=$SLURM_CONF" "$proc/environ" && grep -qzxE "SLURMD_NODENAME=${1:-.*}" "$proc/environ"; } 2>/dev/null \
      && echo "${proc#/proc/}" || true
  done
}
