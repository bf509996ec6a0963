# Read by init.sh: makes systemd start what a command needs, and nothing that the host has enabled.

units=$root/etc/systemd/system
mkdir -p "$units" $root/etc/systemd/user
mount -t tmpfs -o mode=755 units "$units"
mount -t tmpfs -o mode=755 units $root/etc/systemd/user

# For a host that never had these packages installed, only unpacked.
grep -q '^messagebus:' $root/etc/passwd || {
    echo 'messagebus:x:994:994::/nonexistent:/usr/sbin/nologin' >> $root/etc/passwd
    echo 'messagebus:x:994:' >> $root/etc/group
}
for group in systemd-journal:993 systemd-network:992 systemd-resolve:991 systemd-timesync:990; do
    grep -q "^${group%:*}:" $root/etc/group || echo "${group%:*}:x:${group#*:}:" >> $root/etc/group
done

# Slow, or for hardware, or for an installed system's first boot.
for unit in \
    systemd-binfmt.service systemd-boot-system-token.service systemd-firstboot.service \
    systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-journal-flush.service \
    systemd-machine-id-commit.service systemd-modules-load.service systemd-pcrphase-sysinit.service \
    systemd-pcrphase.service systemd-pstore.service systemd-random-seed.service systemd-remount-fs.service \
    systemd-repart.service systemd-sysusers.service systemd-tmpfiles-setup-dev.service \
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service systemd-udev-settle.service systemd-update-done.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service ldconfig.service \
    kmod-static-nodes.service modprobe@configfs.service modprobe@drm.service modprobe@fuse.service \
    systemd-tmpfiles-clean.timer systemd-initctl.socket getty.target \
    systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount; do
    ln -s /dev/null "$units/$unit"
done

cat > "$units/axo.target" << END
[Unit]
Requires=basic.target
Wants=dbus.socket systemd-logind.service systemd-user-sessions.service axo-command.service
After=basic.target
AllowIsolate=yes
END
# Not of the type oneshot: the system would be `starting` for as long as the command runs.
cat > "$units/axo-command.service" << END
[Unit]
After=basic.target dbus.socket systemd-logind.service systemd-user-sessions.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=exec
ExecStart=/run/axo/busybox sh /run/axo/run.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Delegate=yes
LimitNOFILE=1024:524288
TasksMax=infinity
END
if [ -n "$AXO_USER" ]; then
    # Makes logind start the user's manager.
    mkdir -p $root/var/lib/systemd/linger
    touch "$root/var/lib/systemd/linger/$AXO_USER"
fi
for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ -x "$root$systemd" ] &&
        exec switch_root $root $systemd --unit=axo.target --show-status=no --log-target=kmsg --log-level=notice
done
