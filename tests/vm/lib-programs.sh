# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For guest tests and benches, sourced after lib.sh: Debian's own programs in guests (programs-disk.sh).

programs_xml() { # TARGET [FILE...]: for guest_start --devices
        echo "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$("$MLG_VM_DIR/programs-disk.sh" "${@:2}")'/>" \
                "<target dev='$1' bus='virtio'/><readonly/></disk>"
}

# In the guest's path, and their libraries where the linker looks: a program that starts others, as sshd does, hands on no
# LD_LIBRARY_PATH.
programs_mount() { # GUEST TARGET
        guest_run -t 60 "$1" "modprobe virtio_blk; modprobe crc32c_generic; modprobe ext4; mkdir /programs
                i=0; while [ ! -b /dev/$2 ] && [ \$i -lt 50 ]; do sleep 0.1; i=\$((i + 1)); done
                mount -t ext4 -o ro /dev/$2 /programs && ln -s /programs/bin/* /bin/ || exit 1
                mkdir -p /lib/x86_64-linux-gnu
                for f in /programs/lib/*; do
                        [ -e /lib/x86_64-linux-gnu/\${f##*/} ] || ln -s \$f /lib/x86_64-linux-gnu/ || exit 1
                done" >/dev/null
}
