# Common to the scripts here: saying what is done, installing what is missing, building what is old.
# Sourced, not run. Everything can be done again, and does nothing when there is nothing to do.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Logs, stamps and process ids of these scripts. What is in it, they made.
WORK=${SANDBOXCTL_WORK:-$ROOT/target/scripts}
LOGS=$WORK/logs
IMAGE=sandboxctl/claude-code
CLAUDE_CODE_VERSION=2.1.329
BASE_IMAGE=${BASE_IMAGE:-debian:bookworm-slim}
# A bundle of certificate authorities for image builds; see README.
CA_BUNDLE=${SANDBOXCTL_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
GUEST_TARGET=$(uname -m)-unknown-linux-gnu
export PATH="$PATH:$HOME/.cargo/bin:/usr/local/go/bin"
# The tools must find each other's cryptography behind such a proxy too.
if [ -s "$CA_BUNDLE" ]; then export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$CA_BUNDLE}; fi
mkdir -p "$LOGS"

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
has() { command -v "$1" > /dev/null 2>&1; }

# step WORDS -- COMMAND…: runs a slow step. On a terminal: a line that moves, with the time it takes; else a
# plain line at each end. The output goes to a log, whose end is shown when the step fails.
step() {
  local words=$1 log began now
  shift 2
  log=$LOGS/$(tr -cs 'a-zA-Z0-9' '-' <<< "$words").log
  began=$SECONDS
  if [ -t 1 ]; then
    "$@" > "$log" 2>&1 < /dev/null &
    local pid=$! marks='|/-\' n=0
    while kill -0 "$pid" 2> /dev/null; do
      now=$(tail -c 300 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]' | cut -c 1-60)
      printf '\r\033[K%s %s … %ss  \033[2m%s\033[0m' "${marks:n++%4:1}" "$words" "$((SECONDS - began))" "$now"
      sleep 0.2
    done
    printf '\r\033[K'
    if wait "$pid"; then say "✓ $words ($((SECONDS - began)) s)"; return; fi
  else
    say "… $words"
    if ("$@") > "$log" 2>&1 < /dev/null; then say "✓ $words ($((SECONDS - began)) s)"; return; fi
  fi
  tail -n 30 "$log" >&2
  die "✗ $words failed; all of its output is in $log"
}

need_root() {
  [ "$(id -u)" = 0 ] || die "$1 needs root: run this with sudo"
}

apt_install() {
  need_root "installing $*"
  # Lists may be missing (a fresh machine) or old.
  apt-get install -y -q --no-install-recommends "$@" \
    || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }
}

# install_for COMMAND PACKAGE…: Debian packages that bring a command, unless it is there.
install_for() {
  local command=$1
  shift
  has "$command" || step "installing $*" -- apt_install "$@"
}

# The docker client that has BuildKit: the engine's own comes before whatever else is on PATH.
docker() {
  local client=/usr/bin/docker
  [ -x "$client" ] || client=$(type -P docker)
  "$client" "$@"
}

engine_answers() { docker info > /dev/null 2>&1; }

start_engine() {
  need_root "starting the engine"
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    setsid dockerd > "$LOGS/dockerd.log" 2>&1 < /dev/null &
    echo $! > "$WORK/dockerd.pid"
  fi
  for _ in $(seq 150); do
    if engine_answers; then return; fi
    sleep 0.2
  done
  cat "$LOGS/dockerd.log" 2> /dev/null
  return 1
}

ensure_engine() {
  has dockerd || [ -S /var/run/docker.sock ] || install_for dockerd docker.io iptables
  engine_answers || step "starting the Docker engine" -- start_engine
}

make_base_image() {
  timeout 30 "$(type -P docker)" pull -q "$BASE_IMAGE" && return
  [ "$BASE_IMAGE" = debian:bookworm-slim ] || return 1
  has mmdebstrap || apt_install mmdebstrap
  local tar=$WORK/base.tar
  mmdebstrap --variant=minbase --include=ca-certificates bookworm "$tar"
  docker import "$tar" "$BASE_IMAGE"
  rm -f "$tar"
}

build_image() {
  local arguments=(--build-arg "BASE_IMAGE=$BASE_IMAGE" --network host)
  local name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
  done
  [ -z "${NPM_CONFIG_REGISTRY:-}" ] || arguments+=(--build-arg "NPM_REGISTRY=${NPM_CONFIG_REGISTRY%/}")
  [ ! -s "$CA_BUNDLE" ] || arguments+=(--secret "id=ca,src=$CA_BUNDLE")
  DOCKER_BUILDKIT=1 docker build --progress plain "${arguments[@]}" \
    -t "$IMAGE:latest" -t "$IMAGE:$CLAUDE_CODE_VERSION" \
    --label "dev.sandboxctl.sources=$(image_sources)" "$ROOT/images/claude-code"
}

image_sources() { cat "$ROOT"/images/claude-code/* | sha256sum | cut -d ' ' -f 1; }

ensure_image() {
  local built
  built=$(docker image inspect -f '{{index .Config.Labels "dev.sandboxctl.sources"}}' "$IMAGE:latest" 2> /dev/null || true)
  [ "$built" != "$(image_sources)" ] || return 0
  docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 || step "getting the base image $BASE_IMAGE" -- make_base_image
  step "building the session image with Claude Code $CLAUDE_CODE_VERSION" -- build_image
}

ensure_rust() {
  install_for cc build-essential
  has cargo || die "Rust is missing: install it from https://rustup.rs, then run this again"
}

build_page() {
  cd "$ROOT/web"
  npm ci --no-audit --no-fund
  npm run build
}

page_sources() {
  (cd "$ROOT/web" && cat package-lock.json index.html vite.config.* tsconfig.json && find src -type f | sort | xargs cat) | sha256sum
}

ensure_page() {
  if [ "$(cat "$WORK/page.stamp" 2> /dev/null)" = "$(page_sources)" ] && [ -e "$ROOT/web/dist/index.html" ]; then return; fi
  install_for npm nodejs npm
  step "building the page" -- build_page
  page_sources > "$WORK/page.stamp"
}

# The guest is static, so that it runs in any image; and optimised, whatever profile the daemon has.
build_guest() {
  cd "$ROOT"
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked -p sandbox-guest --target "$GUEST_TARGET"
  local profile
  for profile in "$@"; do
    mkdir -p "target/$profile"
    # Replaced, not overwritten: a container may run the old one.
    install -m 755 "target/$GUEST_TARGET/release/sandbox-guest" "target/$profile/.sandbox-guest"
    mv "target/$profile/.sandbox-guest" "target/$profile/sandbox-guest"
  done
}

build_daemon() {
  cd "$ROOT"
  cargo build --release --locked --bin sandboxctl
}
