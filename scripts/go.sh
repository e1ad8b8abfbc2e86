# Go, for what is built here from Go modules. Sourced, not run, after lib.sh.
# shellcheck shell=bash

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sandboxctl
GO_VERSION=$(sed -n 's/^toolchain go//p' "$ROOT/images/gvisor/go.mod")
# Of the toolchain's zip, as the Go module proxy serves it.
declare -A GO_SHA256=(
  [amd64]=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
  [arm64]=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99
)

# Any Go since 1.21 gets the one that the module names by itself. Debian's may be older, or not there.
ensure_go() {
  export GOTOOLCHAIN=auto
  [ ! -x "$CACHE/go-$GO_VERSION/bin/go" ] || export PATH="$CACHE/go-$GO_VERSION/bin:$PATH"
  [ ! -x /usr/local/go/bin/go ] || export PATH="$PATH:/usr/local/go/bin"
  if has go && at_least "$(go env GOVERSION | sed 's/^go//')" 1.21; then return; fi
  install_for curl curl ca-certificates
  step "getting Go $GO_VERSION, for these scripts only" -- install_go
  export PATH="$CACHE/go-$GO_VERSION/bin:$PATH"
}

install_go() {
  local machine=amd64 proxy=${GOPROXY:-} name zip
  [ "$(uname -m)" != aarch64 ] || machine=arm64
  proxy=${proxy%%[,|]*}
  case "$proxy" in http*) ;; *) proxy=https://proxy.golang.org ;; esac
  name=v0.0.1-go$GO_VERSION.linux-$machine
  mkdir -p "$CACHE" && zip=$(mktemp -p "$CACHE" --suffix .zip) || return
  curl --fail --silent --show-error --location --retry 3 -o "$zip" \
    "${proxy%/}/golang.org/toolchain/@v/$name.zip" || { rm -f "$zip"; return 1; }
  if [ "$(sha256sum < "$zip" | cut -d ' ' -f 1)" != "${GO_SHA256[$machine]}" ]; then
    echo "$proxy sent another Go $GO_VERSION than the one whose hash stands in scripts/go.sh"
    rm -f "$zip"
    return 1
  fi
  rm -rf "$CACHE/golang.org" "$CACHE/go-$GO_VERSION"
  python3 -m zipfile -e "$zip" "$CACHE" && rm -f "$zip" || return
  # A module's zip keeps no modes.
  chmod -R u+rwX,go+rX "$CACHE/golang.org" || return
  find "$CACHE/golang.org" -path '*/bin/*' -type f -exec chmod +x {} + || return
  find "$CACHE/golang.org" -path '*/pkg/tool/*' -type f -exec chmod +x {} + || return
  mv "$CACHE/golang.org/toolchain@$name" "$CACHE/go-$GO_VERSION" && rm -rf "$CACHE/golang.org"
}
