#!/usr/bin/env bash
# Lets NVIDIA's own tools work on the fake: nvidia-mig-parted (export, assert, apply), gpu-feature-discovery
# and the Kubernetes device plugin.
#
# They are built from the Go modules that nvidia-tools/go.mod pins, in a folder outside the tree. Wants Go, util-linux'
# unshare, and the right to mount in a namespace of its own (root, or user namespaces); skips, saying so, where one of
# them is missing. Exit status: 0 passed, 1 failed, 77 skipped.
#
# usage: check-with-nvidia-tools.sh [<folder for the built tools, kept>]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
    echo "skipped: $*" >&2
    exit 77
}
command -v go >/dev/null || skip "Go is not installed; NVIDIA's tools cannot be built"
if unshare --mount true 2>/dev/null; then
    separate=(unshare --mount)
elif unshare --map-root-user --mount true 2>/dev/null; then
    separate=(unshare --map-root-user --mount)
else
    skip "this user may not mount in a namespace of its own"
fi

WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT
tools=${1:-$WORK/tools}
mkdir -p "$tools" "$WORK/bin" "$WORK/lib" "$WORK/module"
tools=$(cd "$tools" && pwd)

if [[ ! -x $tools/nvidia-mig-parted || ! -x $tools/kubelet ]]; then
    cp -R "$here/nvidia-tools/"{go.mod,go.sum,kubelet} "$WORK/module"
    GOFLAGS=-mod=mod go build -C "$WORK/module" -o "$tools/" tool ./kubelet ||
        skip "NVIDIA's tools could not be built; see above"
fi

(cd "$here" && cargo build --quiet --package fake-nvml)
target=$(cd "$here" && cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cp "$target/debug/fake-nvml" "$WORK/bin/"
cp "$target/debug/libfake_nvml.so" "$WORK/lib/libnvidia-ml.so.1"
# What nvidia-mig-parted runs to reset the boards.
cat >"$WORK/bin/nvidia-smi" <<'SMI'
#!/usr/bin/env bash
[[ ${1-} == -r ]] && exec fake-nvml reset
echo "nvidia-smi: only -r is known here" >&2
exit 1
SMI
chmod +x "$WORK/bin/nvidia-smi"
export PATH=$WORK/bin:$tools:$PATH LD_LIBRARY_PATH=$WORK/lib FAKE_NVML_STATE=$WORK/node.json

check() {
    FAKE_NVML_BOARDS=2x$1 "$WORK/bin/fake-nvml" create
    "${separate[@]}" bash "$here/nvidia-tools/inside.sh" "$@"
}
check A30-24GB '1g.6gb: 2, 2g.12gb: 1' '2g.12gb: 1, 2g.12gb+me: 1' '4g.24gb: 1'
check A100-40GB '1g.5gb: 2, 2g.10gb: 1, 3g.20gb: 1' '1g.5gb: 7' '3g.20gb: 1, 4g.20gb: 1' '1g.10gb: 4' \
    '1g.5gb: 6, 1g.5gb+me: 1' '1c.3g.20gb: 3, 2c.4g.20gb: 2' '7g.40gb: 1'
check A100-80GB '1g.10gb: 2, 2g.20gb: 1, 3g.40gb: 1' '3g.40gb: 1, 4g.40gb: 1'
check H100-80GB-SXM5 '1g.10gb: 2, 2g.20gb: 1, 3g.40gb: 1' '1g.10gb: 7' '1g.20gb: 4'
check H100-80GB-PCIe '1g.10gb: 2, 2g.20gb: 1, 3g.40gb: 1'
check H100-94GB-NVL '1g.12gb: 2, 2g.24gb: 1, 3g.47gb: 1'
check H200-141GB '1g.18gb: 2, 2g.35gb: 1, 3g.71gb: 1'
check B200-180GB '1g.23gb: 2, 2g.45gb: 1, 3g.90gb: 1' '7g.180gb: 1'
check RTX-PRO-6000-96GB '1g.24gb: 2, 2g.48gb: 1' '1g.24gb+gfx: 4' '1g.24gb+me.all: 1, 1g.24gb-me: 3'
echo "NVIDIA's tools agree with the fake on every board"
