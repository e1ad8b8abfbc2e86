# Common to the scripts here: saying what is done, installing what is missing, building what is old.
# Sourced, not run. Everything can be done again, and does nothing when there is nothing to do.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Logs, stamps and process ids of these scripts. What is in it, they made.
WORK=${SANDBOXCTL_WORK:-$ROOT/target/scripts}
LOGS=$WORK/logs
# What runs because of these scripts (daemon, engine) is noted beside the records, so that it is found again
# from any checkout, and after `cargo clean`.
HOME_DIR=${SANDBOXCTL_HOME:-/var/lib/sandboxctl}
STATE=$HOME_DIR/scripts
IMAGE=sandboxctl/claude-code
# image_argument NAME: a version's one home is the image's Dockerfile.
image_argument() { sed -n "s/^ARG $1=//p" "$ROOT/images/claude-code/Dockerfile" | head -n 1; }
CLAUDE_CODE_VERSION=$(image_argument CLAUDE_CODE_VERSION)
NODE_VERSION=$(image_argument NODE_VERSION)
NPM_VERSION=$(image_argument NPM_VERSION)
CARGO_DENY_VERSION=0.20.2
CARGO_FUZZ_VERSION=0.13.2
BASE_IMAGE=${BASE_IMAGE:-debian:bookworm-slim}
# A bundle of certificate authorities for image builds; see README.
CA_BUNDLE=${SANDBOXCTL_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
GUEST_TARGET=$(uname -m)-unknown-linux-gnu
export PATH="$PATH:$HOME/.cargo/bin"
# The tools must find each other's cryptography behind such a proxy too.
if [ -s "$CA_BUNDLE" ]; then export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$CA_BUNDLE}; fi
mkdir -p "$LOGS"

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
has() { command -v "$1" > /dev/null 2>&1; }
# at_least VERSION WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# remember FILE PID, runs FILE: a process by its id and start time, since ids come round again.
born() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }
remember() { (umask 077; mkdir -p "$STATE"; echo "$2 $(born "$2")" > "$STATE/$1"); }
pid_of() { cut -d ' ' -f 1 "$STATE/$1"; }
runs() {
  local pid start
  [ -e "$STATE/$1" ] && read -r pid start < "$STATE/$1" && [ -n "$start" ] && [ "$(born "$pid")" = "$start" ]
}

# halt FILE: asks a remembered process to end, and waits for it.
halt() {
  if runs "$1"; then kill -TERM "$(pid_of "$1")"; fi
  for _ in $(seq 150); do
    runs "$1" || { rm -f "${STATE:?}/$1"; return 0; }
    sleep 0.1
  done
  echo "process $(pid_of "$1") does not end; it is left alone"
  return 1
}

# step WORDS -- COMMAND…: runs a slow step. On a terminal: a line that moves, with the time it takes; else a
# plain line at each end. The output goes to a log, whose end is shown when the step fails. A step is a
# condition, within which `set -e` sleeps: its functions say `|| return` themselves.
step() {
  local words=$1 log began now
  shift 2
  log=$LOGS/$(tr -cs 'a-zA-Z0-9' '-' <<< "$words").log
  began=$SECONDS
  if [ -t 1 ]; then
    "$@" > "$log" 2>&1 < /dev/null &
    local pid=$! marks='-+*+' n=0
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
  has apt-get || { echo "this is no Debian or Ubuntu: install $* by hand, then run this again"; return 1; }
  export DEBIAN_FRONTEND=noninteractive
  # Lists may be missing (a fresh machine) or old.
  apt-get install -y -q --no-install-recommends "$@" \
    || { apt-get update -q && apt-get install -y -q --no-install-recommends "$@"; }
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
    (umask 077; mkdir -p "$STATE"; : > "$STATE/engine.systemd")
  else
    setsid dockerd > "$LOGS/dockerd.log" 2>&1 < /dev/null &
    remember dockerd $!
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
  has docker || install_for docker docker.io
  engine_answers || step "starting the Docker engine" -- start_engine
}

engine_is_ours() { runs dockerd || [ -e "$STATE/engine.systemd" ]; }

# (Not `grep -q`: it leaves at the first match, and who still writes fails with the pipe.)
engine_has_gvisor() { docker info -f '{{range $name, $_ := .Runtimes}}{{println $name}}{{end}}' | grep -x runsc > /dev/null; }

# On an engine that we did not start, a runtime is for its owner to add: with scripts/gvisor.
ensure_gvisor() {
  if engine_has_gvisor || ! engine_is_ours; then return; fi
  "$ROOT/scripts/gvisor"
}

# Schemathesis, which asks the API what its document allows and what it does not, in an environment of its own.
SCHEMATHESIS=${XDG_CACHE_HOME:-$HOME/.cache}/sandboxctl/schemathesis
ensure_schemathesis() {
  local wanted=$ROOT/tests/schemathesis/requirements.txt
  if cmp -s "$wanted" "$SCHEMATHESIS/installed.txt"; then return; fi
  install_for python3 python3
  python3 -c 'import ensurepip' 2> /dev/null || step "installing python3-venv" -- apt_install python3-venv
  step "installing Schemathesis" -- install_schemathesis "$wanted"
}
install_schemathesis() {
  python3 -m venv --clear "$SCHEMATHESIS" \
    && "$SCHEMATHESIS/bin/pip" install --disable-pip-version-check -r "$1" \
    && cp "$1" "$SCHEMATHESIS/installed.txt"
}

# stop_engine: only if start_engine started it, and nobody's container runs on it.
stop_engine() {
  local by
  if runs dockerd; then by=us; elif [ -e "$STATE/engine.systemd" ]; then by=systemd; else return 0; fi
  if [ -n "$(docker ps -q)" ]; then
    say "  the engine that we started runs other containers: it is left alone"
    return
  fi
  case $by in
    us) step "stopping the engine that we started" -- halt dockerd ;;
    systemd)
      step "stopping the engine that we started" -- systemctl stop docker.socket docker.service
      rm -f "$STATE/engine.systemd"
      ;;
  esac
}

# Clients since 23 have BuildKit in a plugin, which Debian packages apart; the older ones have it within.
ensure_buildkit() {
  local version
  version=$(docker version -f '{{.Client.Version}}')
  if at_least "$version" 23 && ! docker buildx version > /dev/null 2>&1; then
    step "installing docker-buildx" -- apt_install docker-buildx
  fi
}

make_base_image() {
  # The official one where it can be had; behind a wall the same from Debian's packages.
  if timeout 30 "$(type -P docker)" pull -q "$BASE_IMAGE"; then return; fi
  [ "$BASE_IMAGE" = debian:bookworm-slim ] || return 1
  has mmdebstrap || apt_install mmdebstrap || return
  local tar=$WORK/base.tar
  mmdebstrap --variant=minbase --include=ca-certificates bookworm "$tar" && docker import "$tar" "$BASE_IMAGE" || return
  rm -f "$tar"
}

ensure_base_image() {
  docker image inspect "$BASE_IMAGE" > /dev/null 2>&1 || step "getting the base image $BASE_IMAGE" -- make_base_image
}

build_image() {
  local arguments=(--build-arg "BASE_IMAGE=$BASE_IMAGE" --network host)
  local name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
  done
  local registry=${NPM_CONFIG_REGISTRY:-${npm_config_registry:-}}
  [ -z "$registry" ] || arguments+=(--build-arg "NPM_REGISTRY=${registry%/}")
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
  ensure_buildkit
  ensure_base_image
  step "building the session image with Claude Code $CLAUDE_CODE_VERSION" -- build_image
}

ensure_rust() {
  local wanted
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
  install_for cc build-essential
  if ! has cargo; then
    install_for curl curl ca-certificates
    step "installing Rust with rustup, for $(id -un) only" -- install_rust
  fi
  at_least "$(rustc --version | cut -d ' ' -f 2)" "$wanted" \
    || die "Rust $wanted or newer is needed, and $(rustc --version) is here: try rustup update stable"
}

install_rust() {
  local script=$WORK/rustup-init.sh
  if ! curl --fail --silent --show-error --location --proto '=https' --retry 3 -o "$script" https://sh.rustup.rs; then
    echo "Rust cannot be had from here: install it from https://rustup.rs, then run this again"
    return 1
  fi
  sh "$script" -y --no-modify-path --profile minimal --component rustfmt --component clippy
}

# Debian's own Node is older than the page's tools need; npm carries newer ones, for these scripts only.
ensure_node() {
  local wanted
  wanted=$(sed -n 's/.*"node": ">=\(.*\)".*/\1/p' "$ROOT/web/package.json")
  if [ -x "$WORK/node/node_modules/.bin/npm" ]; then
    export PATH="$WORK/node/bin:$WORK/node/node_modules/.bin:$PATH"
  fi
  if has npm && has node && at_least "$(node -p process.versions.node)" "$wanted"; then return; fi
  install_for npm nodejs npm
  at_least "$(node -p process.versions.node)" "$wanted" \
    || step "getting Node $NODE_VERSION, for these scripts only" -- install_node
  export PATH="$WORK/node/bin:$WORK/node/node_modules/.bin:$PATH"
}

install_node() {
  local machine=x64
  [ "$(uname -m)" != aarch64 ] || machine=arm64
  mkdir -p "$WORK/node/bin"
  npm install --no-audit --no-fund --prefix "$WORK/node" "node-linux-$machine@$NODE_VERSION" "npm@$NPM_VERSION"
  ln -sf "../node_modules/node-linux-$machine/bin/node" "$WORK/node/bin/node"
}

ensure_cargo_deny() {
  # It runs for seconds: what its own profile would make quicker takes longer to build.
  has cargo-deny || step "installing cargo-deny (some minutes, once)" -- \
    env CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --locked "cargo-deny@$CARGO_DENY_VERSION"
}

build_page() {
  cd "$ROOT/web" && npm ci --no-audit --no-fund && npm run build
}

page_sources() {
  (cd "$ROOT/web" && cat package-lock.json index.html vite.config.* tsconfig.json \
    && find src public -type f -print0 | sort -z | xargs -0 cat) | sha256sum
}

ensure_page() {
  ensure_node
  if [ "$(cat "$WORK/page.stamp" 2> /dev/null)" = "$(page_sources)" ] && [ -e "$ROOT/web/dist/index.html" ]; then return; fi
  step "building the page" -- build_page
  page_sources > "$WORK/page.stamp"
}

# The guest is static, so that it runs in any image; and optimised, whatever profile the daemon has.
build_guest() {
  cd "$ROOT" || return
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked -p sandbox-guest --target "$GUEST_TARGET" \
    || return
  local profile
  for profile in "$@"; do
    # Replaced, not overwritten: a container may run the old one.
    mkdir -p "target/$profile" \
      && install -m 755 "target/$GUEST_TARGET/release/sandbox-guest" "target/$profile/.sandbox-guest" \
      && mv "target/$profile/.sandbox-guest" "target/$profile/sandbox-guest" || return
  done
}

build_daemon() {
  cd "$ROOT" && cargo build --release --locked --bin sandboxctl
}
