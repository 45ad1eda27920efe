# Sourced by deploy/check and deploy/render: brings what they need into a cache outside the tree, once.
# Sets `python` (with the packages of ci/requirements.txt), `PROMTOOL` (empty where it cannot be had) and `HELM` (empty where there is none).
cache="${XDG_CACHE_HOME:-$HOME/.cache}/retile-ci"
deploy="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

stamp="$(sha256sum "$deploy/ci/requirements.txt" | cut -c1-12)"
venv="$cache/deploy-python-$stamp"
if [[ ! -x "$venv/bin/python" || ! -e "$venv/complete" ]]; then
  mkdir -p "$cache"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$deploy/ci/requirements.txt"
  touch "$venv/complete"
fi
python="$venv/bin/python"

# Debian's package, unpacked and not installed: installing it would start a server.
PROMTOOL="${PROMTOOL:-$(command -v promtool || true)}"
if [[ -z "$PROMTOOL" ]]; then
  if [[ ! -x "$cache/prometheus/usr/bin/promtool" ]] && command -v apt-get dpkg >/dev/null; then
    fetched="$(mktemp -d)"
    chmod 755 "$fetched"
    if (cd "$fetched" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) >"$fetched/log" 2>&1; then
      mkdir -p "$cache/prometheus"
      dpkg -x "$fetched"/prometheus_*.deb "$cache/prometheus"
    fi
    rm -rf "$fetched"
  fi
  [[ -x "$cache/prometheus/usr/bin/promtool" ]] && PROMTOOL="$cache/prometheus/usr/bin/promtool"
fi
export PROMTOOL

# Not brought: it is built from source in three minutes, and ci/requirements.txt has the same as a library. Where there is one, it is tried too.
HELM="${HELM:-$(command -v helm || true)}"
export HELM
