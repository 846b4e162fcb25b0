#!/usr/bin/env bash
# Run the whole test suite in another Debian suite, as root: test_in_suite.sh SUITE FOLDER [MIRROR]
# FOLDER holds the suite afterwards (about 5 GB); a second run goes on with what is there. It can be removed at any time with rm -rf.
set -euo pipefail

suite=$1
folder=$(realpath --canonicalize-missing "$2")
mirror=${3:-}
project=$(realpath "$(dirname "$0")/..")

[ "$(id -u)" = 0 ] || { echo "Making a Debian suite in a folder needs root: sudo make test-qgis SUITE=$suite" >&2; exit 1; }

# Mounts and processes of the suite live in namespaces of their own, so that they end with this script, however it ends.
if [ -z "${SCOREAD_OWN_NAMESPACES:-}" ]; then
  exec env SCOREAD_OWN_NAMESPACES=1 unshare --mount --pid --fork --kill-child "$0" "$@"
fi
trap 'exit 130' INT TERM  # the first process of a namespace ignores them otherwise

# The mirror from which the host itself gets its Debian.
host_mirror() {
  . /etc/os-release
  apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(COMPONENT) $(REPO_URI)' |
    awk -v host="${VERSION_CODENAME:-}" '$1 == "Packages" && $2 == host && $3 == "main" { print $4; exit }'
}

if [ ! -e "$folder/.debootstrapped" ]; then
  if [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
    echo "$folder holds something else. Name a new folder with SUITE_FOLDER=..." >&2
    exit 1
  fi
  command -v debootstrap >/dev/null || { apt-get update; apt-get install -y --no-install-recommends debootstrap debian-archive-keyring; }
  [ -n "$mirror" ] || mirror=$(host_mirror)
  [ -n "$mirror" ] || { echo "No Debian mirror in this machine's apt sources: name one with MIRROR=http://..." >&2; exit 1; }
  rm -rf "$folder.partial"
  mkdir -p "$folder.partial"
  debootstrap --variant=minbase --include=make,ca-certificates "$suite" "$folder.partial" "$mirror"
  touch "$folder.partial/.debootstrapped"
  mv --no-target-directory "$folder.partial" "$folder"
fi

# The suite reaches the network as the host does: names, proxies and other settings of apt, no services started, no packages kept.
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
{
  apt-config dump | grep -iE '^Acquire::(https?::|Check-|Retries|ForceIPv)' || true
  echo 'APT::Keep-Downloaded-Packages "false";'
} >"$folder/etc/apt/apt.conf.d/99host"
printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
chmod +x "$folder/usr/sbin/policy-rc.d"

mount -t proc proc "$folder/proc"
mount -t sysfs -o ro sysfs "$folder/sys"
mount -t tmpfs tmpfs "$folder/dev/shm"
mkdir -p "$folder/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$folder/dev/pts"
ln -sfn pts/ptmx "$folder/dev/ptmx"

# pip as the host has it: its variables, its configuration, and the folders and files on this machine that they name.
settings=()
for name in $(compgen -e | grep -E '^(PIP_|OMP_|CI$)|_proxy$|_PROXY$'); do
  settings+=("$name=${!name}")
done
configurations=()
for place in /etc /root/.pip /root/.config/pip; do
  file=${place/#\/root/$HOME}/pip.conf
  rm -f "$folder$place/pip.conf"
  if [ -e "$file" ]; then
    mkdir -p "$folder$place"
    cp -L "$file" "$folder$place/"
    configurations+=("$file")
  fi
done
# A folder that serves as an index has its files beside it.
cat "${configurations[@]}" /dev/null <(printf '%s\n' "${settings[@]}") | { grep -oE '(file://)?/[^ ,:"]+' || true; } | sort -u |
  while read -r path; do
    case $path in file://*) path=$(dirname "${path#file://}") ;; esac
    if [ -d "$path" ]; then
      mkdir -p "$folder$path"
    elif [ -f "$path" ]; then
      mkdir -p "$(dirname "$folder$path")"
      touch "$folder$path"
    else
      continue
    fi
    mount --bind -o ro "$path" "$folder$path"
  done

# The project as it is in the working tree, over what an earlier run left, and the real scenes beside it.
copy=$folder/work/scoread_qgis
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 -not -name .venv -exec rm -rf {} +
git -C "$project" -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate |
  (cd "$project" && tar --null --files-from=- --ignore-failed-read -cf -) | tar -xf - -C "$copy" --no-same-owner
if [ -d "$project/../shared/data" ]; then
  mkdir -p "$folder/work/shared/data"
  mount --bind -o ro "$(realpath "$project/../shared/data")" "$folder/work/shared/data"
fi

chroot "$folder" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  "${settings[@]}" make -C /work/scoread_qgis test
