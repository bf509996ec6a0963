#!/bin/busybox sh
# The first program of the machine, in the initramfs: makes a root file system that looks like the
# host's and takes any change, then hands over to the init asked for. What it says goes to the console.

export PATH=/bin
/bin/busybox mkdir -p /proc /sys /newroot /host /layer /upper
/bin/busybox --install -s /bin
. /settings

fail() {
    echo "vmhost: $*"
    echo o > /proc/sysrq-trigger
    sleep 60
}

# Shows an overlay of the read-only $1 at $2. Changes go to memory.
overlay() {
    changes=/upper/$(ls /upper | wc -l)
    mkdir -p "$changes/up" "$changes/work" "$2"
    mount -t overlay -o "lowerdir=$1,upperdir=$changes/up,workdir=$changes/work" overlay "$2"
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs -o nosuid,mode=755 devtmpfs /dev
while read -r module; do
    # One that serves no device of this machine is content to fail.
    insmod "/modules/$module" || echo "vmhost: $module is not loaded"
done < /modules/order

share=trans=virtio,version=9p2000.L,msize=1048576
mount -t 9p -o "ro,$share,cache=loose" host /host || fail "the host's files cannot be mounted"
mount -t tmpfs -o mode=755,size=80% changes /upper
lower=/host
if [ -n "$AXO_LAYER" ]; then
    mount -t 9p -o "ro,$share,cache=loose" layer /layer || fail "the layer of systemd cannot be mounted"
    lower=/layer:/host
fi
overlay "$lower" /newroot || fail "the root file system cannot be mounted"

# What every Linux has, in place of the host's.
root=/newroot
mkdir -p $root/proc $root/sys $root/dev $root/run $root/tmp $root/results
mount -t proc -o nosuid,nodev,noexec proc $root/proc
mount -t sysfs -o nosuid,nodev,noexec sysfs $root/sys
mount --move /dev $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts $root/dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm $root/dev/shm
mount -t mqueue mqueue $root/dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=755 run $root/run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmp $root/tmp
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 $root/sys/fs/cgroup
ln -sf /proc/self/fd $root/dev/fd
ln -sf fd/0 $root/dev/stdin
ln -sf fd/1 $root/dev/stdout
ln -sf fd/2 $root/dev/stderr
# There is no udev. These are its defaults.
chmod 666 $root/dev/kvm $root/dev/fuse $root/dev/net/tun $root/dev/vsock $root/dev/vhost-vsock 2> /dev/null

# The kernel's modules, so that it and `modprobe` find the others.
modules=$root/lib/modules/$(uname -r)
mkdir -p "$modules"
mount --bind "/host$AXO_MODULES" "$modules"

hostname vmhost
echo 127.0.1.1 vmhost >> $root/etc/hosts
ip link set lo up
: > $root/etc/fstab
[ -s $root/etc/machine-id ] || tr -d - < /proc/sys/kernel/random/uuid > $root/etc/machine-id
ulimit -Hn 524288
ulimit -Sn 1024

# 9p knows no write through a mapping without a cache.
mount -t 9p -o "$share,cache=mmap" results $root/results || fail "the results' directory cannot be mounted"
if [ -n "$AXO_SCRATCH" ]; then
    # Its name is what /proc/mounts will say.
    ln -s /newroot/dev/vda /dev/vda
    mkdir -p $root/scratch
    mount -t ext4 -o discard /dev/vda $root/scratch || fail "the scratch disk cannot be mounted"
    chmod 1777 $root/scratch
fi
while read -r shared; do
    overlay "/host$shared" "$root$shared" || fail "$shared cannot be mounted"
done < /shares

# $1 with one more line, $2, if it has none of the user's.
account() {
    grep -qs "^$AXO_USER:" "$root/etc/$1" || echo "$2" >> "$root/etc/$1"
}

AXO_UID=0 AXO_GID=0 AXO_HOME=/root
if [ -n "$AXO_USER" ]; then
    new=1000
    while grep -q "^[^:]*:[^:]*:$new:" $root/etc/passwd $root/etc/group; do new=$((new + 1)); done
    account passwd "$AXO_USER:x:$new:$new::/home/$AXO_USER:/bin/sh"
    IFS=: read -r _ _ AXO_UID AXO_GID _ AXO_HOME _ << END
$(grep "^$AXO_USER:" $root/etc/passwd)
END
    account group "$AXO_USER:x:$AXO_GID:"
    account shadow "$AXO_USER:*:19000:0:99999:7:::"
    touch $root/etc/subuid $root/etc/subgid
    for file in subuid subgid; do
        account $file "$AXO_USER:$((100000 + 65536 * $(wc -l < $root/etc/$file))):65536"
    done
    mkdir -p "$root$AXO_HOME"
    chown "$AXO_UID:$AXO_GID" "$root$AXO_HOME"
fi

# What the next script needs. All of it is in memory.
axo=$root/run/axo
mkdir -p $axo
cp /bin/busybox /run.sh /command.sh $axo/
{
    cat /settings
    echo "AXO_UID=$AXO_UID AXO_GID=$AXO_GID AXO_HOME=$AXO_HOME"
} > $axo/settings
cd /
case $AXO_INIT in
plain)
    # The root of cgroups may hold processes and have controllers for its children at once.
    for controller in $(cat $root/sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" > $root/sys/fs/cgroup/cgroup.subtree_control
    done
    exec switch_root $root /run/axo/busybox sh /run/axo/run.sh
    ;;
systemd)
    . /systemd.sh
    ;;
esac
fail "there is no $AXO_INIT to start"
