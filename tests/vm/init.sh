#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The first process of the emulated machine: modules, four network cards, the
# test programs one after the other, and the word on the console that it came
# to its end.
#
#     left ===== ltap        left and right: the driver under test
#     right ==== rtap        ltap and rtap: where AF_PACKET sends and listens
export PATH=/bin HOME=/root LD_LIBRARY_PATH=/lib

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd

while read -r module; do
	insmod "/modules/$module.ko" || echo "xmbuf-vm: $module did not load"
done </modules/order

# A disk, where this machine has one: files of tests that are not in memory.
if [ -b /dev/ram0 ]; then
	mkdir -p /var/tmp
	mke2fs -F /dev/ram0 >/dev/null
	mount -t ext2 /dev/ram0 /var/tmp
fi
# What is asked for and not touched need not be there.
echo 1 >/proc/sys/vm/overcommit_memory

status=0
i=0
for name in left ltap right rtap; do
	dev=$(grep -l "52:54:00:00:00:0$i" /sys/class/net/*/address)
	dev=${dev#/sys/class/net/}
	dev=${dev%/address}
	if [ -z "$dev" ] || ! ip link set "$dev" name "$name"; then
		echo "xmbuf-vm: there is no card $i"
		status=1
	fi
	ip link set "$name" promisc on up
	i=$((i + 1))
done
ip link set lo up
echo "xmbuf-vm: up"

read -r line </proc/cmdline
for word in $line; do
	case $word in
	xmbuf.tests=*) tests=${word#xmbuf.tests=} ;;
	xmbuf.suite=*) export XMBUF_VM_SUITE="${word#xmbuf.suite=}" ;;
	esac
done
IFS=,
for test in $tests; do
	echo "xmbuf-vm: $test on $(uname -r)"
	program=/tests/vm_$test
	[ -e "$program" ] || program=/tests/test_$test
	"$program" -j1 --color=never --tap=/dev/fd/3 3>/dev/ttyS1 || status=1
	echo "# end of $test" >/dev/ttyS1
done
echo "xmbuf-vm: end $status"
poweroff -f
