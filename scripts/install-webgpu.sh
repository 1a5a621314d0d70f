#!/bin/sh
# Installs what test/webgpu.test.ts needs on a machine without a graphics adapter: a Vulkan driver in
# software (SwiftShader), out of the files of Debian's Chromium. Does nothing where it is installed.
set -eu

driver=/usr/lib/chromium/vk_swiftshader_icd.json
if [ -e "$driver" ]; then
  echo "The software Vulkan driver is installed: $driver"
  exit 0
fi
if ! command -v apt-get >/dev/null || ! grep -qs '^ID=debian' /etc/os-release; then
  echo "This script knows Debian only. Elsewhere, install a Vulkan driver and its loader, libvulkan.so.1." >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "Installing packages needs root: sudo $0" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium-common libvulkan1 >/dev/null
[ -e "$driver" ] || { echo "Debian's chromium-common package no longer has $driver" >&2; exit 1; }
echo "Installed the software Vulkan driver: $driver"
