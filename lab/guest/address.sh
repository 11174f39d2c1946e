#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# udhcpc calls this when the state of the lease has changed.
# shellcheck disable=SC2154  # udhcpc sets these variables.
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
[ "$router" ] && ip route add default via "${router%% *}"
line="address $ip"
echo "lab: ${#line} $line" > /dev/ttyS0
