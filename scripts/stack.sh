# The stack's parts, built for the tests from their Go modules in tests/stack, each once. Sourced, not run.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/go.sh"

# A folder for each part and version; in bin, a link to each of their binaries.
STACK=$CACHE/stack
STACK_PARTS=(promtool prometheus loki collector jaeger compose dashboards alertmanager amtool pushgateway)

# stack_part PART: prints what it is made of: the folder below tests/stack, the module whose version it has, the
# package to build, the binary's name, and flags.
stack_part() {
  local prometheus=github.com/prometheus/prometheus version=github.com/prometheus/common/version.Version
  local alertmanager=github.com/prometheus/alertmanager grafana=github.com/grafana/grafana-foundation-sdk/go
  local loki=github.com/grafana/loki/v3 jaeger=github.com/jaegertracing/jaeger compose=github.com/docker/compose/v5
  case "$1" in
    # Without the service discoveries of all clouds, which are most of it; files and HTTP stay.
    prometheus | promtool) echo "prometheus $prometheus $prometheus/cmd/$1 $1 $version netgo,remove_all_sd" ;;
    alertmanager | amtool) echo "alertmanager $alertmanager $alertmanager/cmd/$1 $1 $version" ;;
    loki) echo "loki $loki $loki/cmd/loki loki $loki/pkg/util/build.Version" ;;
    collector) echo "collector go.opentelemetry.io/collector/otelcol . collector" ;;
    jaeger) echo "jaeger $jaeger $jaeger/cmd/jaeger jaeger $jaeger/pkg/version.latestVersion" ;;
    # No part of the stack: it holds the dashboards to Grafana's schema, as Grafana itself cannot be run in a test.
    dashboards) echo "dashboards $grafana . dashboards" ;;
    compose) echo "compose $compose $compose/cmd docker-compose $compose/internal.Version" ;;
  esac
}

# ensure_stack_parts PART…: builds those that are not there. Their binaries are then in $STACK/bin.
ensure_stack_parts() {
  local part
  mkdir -p "$STACK/bin"
  for part in "$@"; do
    case "$part" in
      pushgateway) ensure_debian_part "$part" ;;
      *)
        [[ " ${STACK_PARTS[*]} " == *" $part "* ]] || die "the stack has no part '$part': it has ${STACK_PARTS[*]}"
        ensure_go_part "$part"
        ;;
    esac
  done
  # Unless another run still builds.
  flock -n "$STACK/lock" rm -rf "${STACK:?}/building" || true
}

ensure_go_part() {
  local module source package binary variable tags version folder
  read -r module source package binary variable tags < <(stack_part "$1")
  version=$(sed -n "s|^\(require \)\{0,1\}[[:space:]]*$source \(v[^ ]*\).*|\2|p" "$ROOT/tests/stack/$module/go.mod" | head -n 1)
  folder=$STACK/$1-$version
  if ! part_is_built; then
    ensure_go
    # Another run may be building it: then its binary is taken.
    exec 9> "$STACK/lock"
    flock -n 9 || step "waiting for another build of the stack's parts" -- flock 9
    part_is_built || step "building $1 $version (some minutes, once)" -- build_go_part
    exec 9>&-
  fi
  ln -sfn "../$1-$version/$binary" "$STACK/bin/$binary"
}

# The next two are of ensure_go_part, and know its variables.
part_is_built() { [ -x "$folder/$binary" ] && [ "$(cat "$folder/sources" 2> /dev/null)" = "$(part_sources)" ]; }

part_sources() { (cd "$ROOT/tests/stack/$module" && sha256sum -- * && echo "$package $tags") | sha256sum; }

build_go_part() {
  local where=$ROOT/tests/stack/$module flags='-s -w'
  export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -modcacherw' GOWORK=off
  # Some gigabytes that nobody needs once the parts are built, so apart from others' caches. What is compiled serves
  # several parts; sources are kept of one at a time.
  local building=$STACK/building
  export GOCACHE=$building/cache GOMODCACHE=$building/$module
  mkdir -p "$folder" "$building" || return
  find "$building" -mindepth 1 -maxdepth 1 ! -name cache ! -name "$module" -exec rm -rf {} + || return
  if [ -e "$where/builder.yaml" ]; then
    generate "$where" "$folder/generated" || return
    where=$folder/generated
  elif [ "$module" = alertmanager ]; then
    without_page "$where" "$folder/generated" || return
    where=$folder/generated
  fi
  [ -z "$variable" ] || flags+=" -X $variable=${version#v}"
  cd "$where" && nice go build -trimpath -tags "$tags" -ldflags "$flags" -o "$folder/.$binary" "$package" \
    || return
  cd "$ROOT" && mv "$folder/.$binary" "$folder/$binary" && rm -rf "$folder/generated" || return
  part_sources > "$folder/sources"
}

# generate MODULE FOLDER: what the collector's builder writes from a manifest, beside the module's own go.mod: the one
# that it would make asks for modules of tests, which cannot all be had.
generate() {
  rm -rf "$2" && mkdir -p "$2" && cp "$1/go.mod" "$1/go.sum" "$2" || return
  sed "s|^dist:|dist:\n  output_path: $2|" "$1/builder.yaml" > "$2/builder.yaml" || return
  cd "$1" && go tool builder --config "$2/builder.yaml" --skip-compilation --skip-get-modules && rm "$2/main_windows.go"
}

# without_page MODULE FOLDER: Alertmanager with an empty page. Its own is built with npm, and is not in its Go module.
without_page() {
  local source=github.com/prometheus/alertmanager copied
  rm -rf "$2" && mkdir -p "$2" && cp "$1/go.mod" "$1/go.sum" "$2" && cd "$2" && go mod download "$source" || return
  copied=$(go list -m -f '{{.Dir}}' "$source") && cp -r "$copied" copy && chmod -R u+w copy || return
  mkdir -p copy/ui/app/dist && echo '<!doctype html>' > copy/ui/app/dist/index.html || return
  go mod edit -replace "$source=./copy"
}

# Debian's package, unpacked rather than installed: installing it starts a service.
ensure_debian_part() {
  [ ! -x "$STACK/bin/$1" ] || return 0
  has apt-get || die "this is no Debian or Ubuntu: put $1 into $STACK/bin by hand, then run this again"
  step "getting Debian's $1" -- unpack_debian_part "$1"
}

unpack_debian_part() {
  local folder=$STACK/$1-debian binary
  rm -rf "$folder" && mkdir -p "$folder/package" && cd "$folder/package" || return
  apt-get download "prometheus-$1" || { apt-get update && apt-get download "prometheus-$1"; } || return
  dpkg-deb --fsys-tarfile ./*.deb | tar --extract --directory "$folder" --strip-components 3 --wildcards './usr/bin/*' || return
  cd "$folder" && rm -rf "$folder/package" && mv "prometheus-$1" "$1" || return
  for binary in *; do ln -sfn "../$1-debian/$binary" "$STACK/bin/$binary"; done
}
