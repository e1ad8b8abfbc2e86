#!/usr/bin/env bash
# fetch.sh NAME VERSION ARCH DIR: unpacks an npm package of one platform into DIR, its hash checked against
# integrity.txt. ARCH is the engine's word (amd64, arm64), or empty for a package of no platform.
set -euo pipefail

name=$1 version=$2 arch=$3 dir=$4
case "$arch" in
  "") package=$name ;;
  amd64) package="$name-x64" ;;
  arm64) package="$name-arm64" ;;
  *) echo "no $name for $arch" >&2; exit 1 ;;
esac
wanted=$(awk -v p="$package@$version" '$1 == p { print $2 }' "$(dirname "$0")/integrity.txt")
if [ -z "$wanted" ]; then
  echo "integrity.txt does not know $package@$version: add the dist.integrity that npm view tells" >&2
  exit 1
fi
bundle=()
if [ -s /run/secrets/ca ]; then bundle=(--cacert /run/secrets/ca); fi
archive=$(mktemp)
curl --fail --silent --show-error --location --retry 3 "${bundle[@]}" \
  --output "$archive" "$NPM_REGISTRY/$package/-/${package##*/}-$version.tgz"
found="sha512-$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)"
if [ "$found" != "$wanted" ]; then
  echo "$package@$version: the registry sent $found, expected $wanted" >&2
  exit 1
fi
mkdir -p "$dir"
tar --extract --gzip --file "$archive" --directory "$dir" --strip-components 1 --no-same-owner
rm "$archive"
