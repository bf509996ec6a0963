# Runs the command, as PID 1 or as a unit of systemd, and tells xtask how it ended. xtask then ends the
# machine: only it knows that every byte has arrived.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
. /run/axo/settings
cd /

port() {
    for port in /sys/class/virtio-ports/*; do
        if [ "$(cat "$port/name")" = "axo.$1" ]; then
            echo "/dev/${port##*/}"
        fi
    done
}

# The command writes to a pipe, which unlike a port can be opened again, as /dev/stderr is.
for stream in stdout stderr; do
    mkfifo -m 600 /run/axo/$stream
    chown "$AXO_UID:$AXO_GID" /run/axo/$stream
done
pass_on() {
    # The host's, which says how many bytes it copied. Not every busybox does.
    exec env LC_ALL=C /bin/dd if=/run/axo/$1 of="$(port "$1")" bs=65536 conv=notrunc 2> /run/axo/$1.log
}
pass_on stdout &
stdout=$!
pass_on stderr &
stderr=$!
exec 3> "$(port control)"

runtime=/run/user/$AXO_UID
cgroup=
case $AXO_INIT:$AXO_USER in
plain:?*)
    mkdir -p /run/user
    mkdir -m 700 "$runtime"
    chown "$AXO_UID:$AXO_GID" "$runtime"
    slice=/sys/fs/cgroup/user-$AXO_USER.slice
    cgroup=$slice/session.scope
    mkdir -p $cgroup
    for controller in $(cat $slice/cgroup.controllers); do
        echo "+$controller" > $slice/cgroup.subtree_control
    done
    # What cgroups(7) calls delegation: the limits of the slice itself stay root's.
    for delegated in $slice $cgroup; do
        chown "$AXO_UID:$AXO_GID" $delegated $delegated/cgroup.procs $delegated/cgroup.threads \
            $delegated/cgroup.subtree_control
    done
    ;;
systemd:*)
    systemctl is-system-running --wait > /dev/null
    [ -z "$AXO_USER" ] || systemctl start "user@$AXO_UID.service"
    ;;
esac

command() {
    exec 3>&-
    [ -z "$cgroup" ] || echo 0 > $cgroup/cgroup.procs
    set -- HOME="$AXO_HOME" USER="${AXO_USER:-root}" LOGNAME="${AXO_USER:-root}" SHELL=/bin/sh \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
        AXO_RESULTS=/results ${AXO_SCRATCH:+AXO_SCRATCH=/scratch}
    if [ -n "$AXO_USER" ]; then
        set -- "$@" XDG_RUNTIME_DIR="$runtime"
        if [ "$AXO_INIT" = systemd ]; then
            set -- "$@" DBUS_SESSION_BUS_ADDRESS="unix:path=$runtime/bus" \
                /usr/bin/systemd-run --user --scope --quiet --property=Delegate=yes
        fi
        exec /run/axo/busybox setsid /usr/bin/setpriv --reuid="$AXO_UID" --regid="$AXO_GID" --init-groups \
            /usr/bin/env -i "$@" /bin/sh /run/axo/command.sh
    fi
    exec /run/axo/busybox setsid /usr/bin/env -i "$@" /bin/sh /run/axo/command.sh
}

echo started >&3
command < /dev/null > /run/axo/stdout 2> /run/axo/stderr &
wait $!
status=$?

# Whoever still has a pipe open would keep it from ending.
for process in /proc/[0-9]*; do
    case ${process#/proc/} in
    1 | $$ | $stdout | $stderr) ;;
    *) kill -9 "${process#/proc/}" 2> /dev/null ;;
    esac
done
wait $stdout $stderr
sync

count() {
    sed -n 's/^\([0-9]*\) bytes.*/\1/p' "/run/axo/$1.log"
}
echo "exited $status $(count stdout) $(count stderr)" >&3
while :; do sleep 60; done
