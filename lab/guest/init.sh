#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# Everything that the guest does. All its lines on the console begin with
# 'lab: ' and the length of what follows, because a console that nobody reads
# can lose or repeat characters. It takes 'tell WORD', 'mark TEXT' and
# 'poweroff'.

say() {
    line="$*"
    echo "lab: ${#line} $line"
}

# The disks, by name: vda, sda, sr0...
disks() {
    for path in /sys/block/vd* /sys/block/sd* /sys/block/sr*; do
        [ -e "$path" ] && echo "${path##*/}"
    done
}

# Whether a disk takes markers: if it is writable and large enough.
takes_markers() {
    read -r ro < "/sys/block/$1/ro"
    read -r sectors < "/sys/block/$1/size"
    [ "$ro" = 0 ] && [ "$sectors" -ge 2048 ]
}

# The markers on a disk, one a line. Not from the page cache: what is reported
# must be what is on the disk.
area() {
    dd "if=/dev/$1" bs=64k skip=8 count=1 iflag=direct | tr -d '\0'
}

# Append a marker to those on a disk.
write_marker() {
    old=$(area "$1")
    new="${old:+$old
}$2"
    if [ "${#new}" -ge 65536 ]; then
        say "failed $1 is full"
        return
    fi
    printf '%s\n' "$new" | dd "of=/dev/$1" bs=64k seek=8 \
        iflag=fullblock conv=sync,notrunc,fsync
    if [ "$(area "$1")" = "$new" ]; then
        say "wrote $1 $2"
    else
        say "failed $1 $2"
    fi
}

uefi=/sys/firmware/efi/efivars
vendor=46ac1639-7d64-4ad3-9533-8469fe3ba513

# The markers in UEFI variables, one a line. Leaves their number in count.
variables() {
    count=0
    while [ -e "$uefi/lab$count-$vendor" ]; do
        # Four bytes of attributes.
        tail -c +5 "$uefi/lab$count-$vendor"
        echo
        count=$((count + 1))
    done
}

# Add a marker to those.
write_variable() {
    variables > /dev/null
    # What is written at once is one variable.
    printf '\007\0\0\0%s' "$1" > "$uefi/lab$count-$vendor" \
        || say "failed uefi $1"
}

# The name of the image that a disk was made from, if it is one of the lab.
holds() {
    found=$(dd "if=/dev/$1" bs=4k skip=144 count=1 iflag=direct | tr -d '\0')
    case $found in
        'lab-image '*) echo "${found#lab-image }";;
    esac
}

serial() {
    number=
    if [ -e "/sys/block/$1/serial" ]; then
        read -r number < "/sys/block/$1/serial"
    elif [ -e "/sys/block/$1/device/vpd_pg80" ]; then
        # Four bytes of header.
        number=$(tail -c +5 "/sys/block/$1/device/vpd_pg80" | tr -d '\0 ')
    fi
    echo "${number:--}"
}

# The facts about the guest and its disks, one a line.
facts() {
    echo "image $name boot $boot"
    read -r uptime _ < /proc/uptime
    echo "uptime $uptime"
    from=
    for disk in $(disks); do
        read -r ro < "/sys/block/$disk/ro"
        if [ "$ro" = 1 ]; then
            echo "disk $disk read-only"
            continue
        fi
        read -r sectors < "/sys/block/$disk/size"
        echo "disk $disk $((sectors * 512)) $(serial "$disk")"
        takes_markers "$disk" || continue
        area "$disk" | while read -r text; do
            echo "marker $disk $text"
        done
        held=$(holds "$disk")
        if [ "$held" = "$name" ]; then
            # Nothing distinguishes two disks of one image.
            from="${from:+$from or }$disk"
        elif [ "$held" ]; then
            echo "disk $disk holds $held"
        fi
    done
    variables | while read -r text; do
        echo "marker uefi $text"
    done
    echo "running from ${from:-ramdisk}"
}

# Print all facts, each after a word; the last line has their number.
tell() {
    facts | {
        count=0
        while read -r fact; do
            say "$1 $fact"
            count=$((count + 1))
        done
        say "$1 told $count"
    }
}

# Ask for an address on each network interface, as soon as there is one. One
# that is plugged in again under the same name has another index.
ask_addresses() {
    asked=' '
    while :; do
        for path in /sys/class/net/eth*; do
            [ -e "$path" ] || continue
            read -r index < "$path/ifindex"
            case $asked in *" $index "*) continue;; esac
            asked="$asked$index "
            ip link set "${path##*/}" up
            udhcpc -f -q -t 5 -T 1 -A 2 -i "${path##*/}" -s /address \
                > /dev/null &
        done
        usleep 250000
    done
}

off() {
    say "power off"
    poweroff -f
}

# The kernel panics when this script ends.
export PATH=/bin
mkdir -p /proc /sys /dev
mount -t proc proc /proc || exit 1
mount -t sysfs sys /sys || exit 1
mount -t devtmpfs dev /dev || exit 1
echo 1 > /proc/sys/kernel/panic
dmesg -n 1
exec > /dev/ttyS0 2> /dev/null < /dev/null
stty -F /dev/ttyS0 -echo -isig -ixon clocal

# Ctrl-alt-del comes as a signal, rather than as a reset.
echo 0 > /proc/sys/kernel/ctrl-alt-del
trap off INT

# A kernel that was started without a disk has no name on its command line.
name=kernel
read -r words < /proc/cmdline
for word in $words; do
    case $word in
        lab=*) name=${word#lab=};;
    esac
done
read -r boot < /proc/sys/kernel/random/boot_id
# What the firmware wrote may have left its line open.
echo

firmware=bios
[ -e /sys/firmware/efi ] && firmware=uefi
for module in /modules/*; do
    case $firmware$module in
        bios*efivarfs*) continue;;
    esac
    insmod "$module" || say "failed module ${module##*/}"
done

for disk in $(disks); do
    takes_markers "$disk" && write_marker "$disk" "$name $boot"
done
if [ "$firmware" = uefi ]; then
    mount -t efivarfs efivarfs "$uefi"
    write_variable "$name $boot"
fi
tell boot

ask_addresses &

for path in /sys/class/input/event*; do
    [ -e "$path" ] || continue
    read -r kind < "$path/device/name"
    [ "$kind" = 'Power Button' ] || continue
    # The first event is the press.
    (dd "if=/dev/input/${path##*/}" of=/dev/null bs=1k count=1 && off) &
done

while :; do
    while read -r command text; do
        case $command in
            mark)
                for disk in $(disks); do
                    takes_markers "$disk" && write_marker "$disk" "$text"
                done;;
            tell) tell "$text";;
            poweroff) off;;
            ?*) say "failed unknown command $command";;
        esac
    done < /dev/ttyS0
    # It was hung up.
    usleep 1000000
done &

while :; do
    read -r uptime _ < /proc/uptime
    say "tick $uptime"
    usleep 100000
done
