#!/usr/bin/env bash
# Runs NVIDIA's tools on one kind of board. Called by check-with-nvidia-tools.sh inside a mount namespace of its own.
#
# usage: inside.sh <board> [<mig-devices as YAML>...]
# Environment: FAKE_NVML_STATE, LD_LIBRARY_PATH, WORK (scratch folder with bin/), as the caller sets them.
set -euo pipefail
board=$1
shift

# The tools ask /proc/modules for the kernel module and /sys for the boards' PCI ids.
mkdir -p "$WORK/proc" "$WORK/sys" "$WORK/real-proc" "$WORK/host"
rm -rf "$WORK/host"
"$WORK/bin/fake-nvml" host "$WORK/host"
mount -t tmpfs none "$WORK/proc"
mount -t tmpfs none "$WORK/sys"
cp -R "$WORK/host/proc/." "$WORK/proc/"
cp -RP "$WORK/host/sys/." "$WORK/sys/"
mount --rbind /proc "$WORK/real-proc"
ln -s "$WORK/real-proc/self" "$WORK/proc/self"
mount --bind "$WORK/proc" /proc
mount --bind "$WORK/sys" /sys
cd "$WORK"

fail() {
    echo "FAILED on $board: $*" >&2
    "$WORK/bin/fake-nvml" show >&2
    exit 1
}

config() {
    printf 'version: v1\nmig-configs:\n  wanted:\n  - devices: all\n    mig-enabled: %s\n    mig-devices: {%s}\n' \
        "$1" "$2" >wanted.yaml
}

parted() {
    nvidia-mig-parted "$@" -f wanted.yaml -c wanted >parted.log 2>&1
}

# What the tool exports must be what was asked for, on every board of the node.
exported() {
    nvidia-mig-parted export -o json | tr -d ' \n\t"' | sed 's/.*mig-devices:{\([^}]*\)}.*/\1/' | tr ',' '\n' | sort
}

for devices in "$@"; do
    config true "$devices"
    if parted assert; then fail "[$devices] is asserted before it was applied"; fi
    parted apply || fail "[$devices] is not applied: $(tail -3 parted.log)"
    parted assert || fail "[$devices] is not asserted: $(tail -3 parted.log)"
    wanted=$(tr -d ' "' <<<"$devices" | tr ',' '\n' | sort)
    [[ $(exported) == "$wanted" ]] || fail "[$devices] is exported as $(exported | xargs)"
    echo "ok   $board  nvidia-mig-parted  $devices"
done

# What cannot be: more than the board holds.
config true "$(sed 's/:.*/: 9/' <<<"$1")"
if parted apply; then fail "nine instances are applied"; fi
echo "ok   $board  nvidia-mig-parted  refuses nine instances"

config true "$1"
parted apply || fail "[$1] is not applied again: $(tail -3 parted.log)"
gpu-feature-discovery --oneshot --no-timestamp --mig-strategy=mixed --device-discovery-strategy=nvml \
    --machine-type-file=/dev/null --output-file=labels >gfd.log 2>&1 || fail "labels: $(tail -3 gfd.log)"
while IFS=: read -r profile count; do
    label="nvidia.com/mig-$(tr -d ' ' <<<"$profile" | sed 's/+/./').count=$((2 * count))"
    grep -qxF "$label" labels || fail "no label $label among: $(grep count labels | xargs)"
    echo "ok   $board  gpu-feature-discovery  $label"
done < <(tr ',' '\n' <<<"$1")

# The device plugin registers with a stand-in for the kubelet and lists what it would advertise; it looks for the capabilities
# of the new instances in /proc.
mkdir -p "$WORK/var-lib/kubelet/device-plugins"
rm -rf "$WORK/host"
fake-nvml host "$WORK/host"
cp -R "$WORK/host/proc/." /proc/
mount --bind "$WORK/var-lib" /var/lib
rm -f /var/lib/kubelet/device-plugins/*
instances=$(tr ',' '\n' <<<"$1" | sed 's/.*://' | xargs | tr ' ' '+')
kubelet "$((2 * (instances)))" >devices 2>kubelet.log &
kubelet=$!
until [[ -S /var/lib/kubelet/device-plugins/kubelet.sock ]]; do sleep 0.1; done
nvidia-device-plugin --mig-strategy=mixed --device-discovery-strategy=nvml >plugin.log 2>&1 &
plugin=$!
wait "$kubelet" || fail "the device plugin lists $(xargs <devices): $(tail -3 plugin.log)"
kill "$plugin"
wait "$plugin" || true
while IFS=: read -r profile count; do
    resource="nvidia.com/mig-$(tr -d ' ' <<<"$profile" | sed 's/+/./')"
    [[ $(grep -c "^$resource MIG-[0-9a-f-]* Healthy\$" devices) == $((2 * count)) ]] || fail "$(xargs <devices)"
    echo "ok   $board  nvidia-device-plugin  $resource: $((2 * count))"
done < <(tr ',' '\n' <<<"$1")
umount /var/lib

# The MIG mode off and on again; on Ampere the tool has the boards reset by nvidia-smi.
config false ''
parted apply || fail "the mode is not switched off: $(tail -3 parted.log)"
parted assert || fail "the mode is not off: $(tail -3 parted.log)"
config true "$1"
parted apply || fail "the mode is not switched on: $(tail -3 parted.log)"
echo "ok   $board  nvidia-mig-parted  MIG mode off and on"
