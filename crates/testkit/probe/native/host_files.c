/* Ops that look for the host's own files, devices and programs: threats 18, 22, 23 and 24. */

#define MOST_PROCESSES 64

/* ---- the runtime's program -------------------------------------------------------------------- */

/* Opens for writing what `path` leads to, by way of a descriptor that only names it. */
static int reopen(const char *path) {
    char again[64];
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno;
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    int error = try_open(again, O_WRONLY);
    close(fd);
    return error;
}

static void put_exe(const char *name, const char *directory) {
    char path[PATH_SIZE];
    join(path, directory, "exe");
    key(name);
    put("{");
    put_link_member("link", path);
    put_int_member("write", try_open(path, O_WRONLY));
    put_int_member("reopen", reopen(path));
    char descriptors[PATH_SIZE];
    DIR *dir = opendir(join(descriptors, directory, "fd"));
    key("fds");
    put("[");
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char target[PATH_SIZE];
        if (is_dots(entry->d_name)) continue;
        ssize_t length = readlink(join(path, descriptors, entry->d_name), target, sizeof target);
        if (length < 0) continue;
        separate();
        put_json(target, (size_t)length);
    }
    put("]}");
    if (dir) closedir(dir);
}

/* The programs of all processes: opened for writing, never written. */
static void op_runtime_exe(void) {
    char path[PATH_SIZE], name[32];
    put("{");
    put_exe("self", "/proc/self");
    DIR *proc = opendir("/proc");
    int count = 0;
    for (pid_t process; proc && count < MOST_PROCESSES && (process = next_process(proc)) != 0; count++) {
        snprintf(name, sizeof name, "%d", (int)process);
        put_exe(name, join(path, "/proc", name));
    }
    if (proc) closedir(proc);
    put("}");
}

/* ---- settings of the kernel ------------------------------------------------------------------- */

/* Opened for writing and never written. */
static const char *const SWITCHES[] = {
    "/proc/sysrq-trigger",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/fs/binfmt_misc/status",
    "/sys/fs/binfmt_misc/register",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/proc/acpi/wakeup",
    "/proc/scsi/scsi",
    "/proc/bus/pci/devices",
    "/proc/fs/nfsd/threads",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/kernel/ns_last_pid",
};

/* Written with the value they have. */
static const char *const SETTINGS[] = {
    "/proc/sys/kernel/core_pattern",   "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",     "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/sysrq",          "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/vm/panic_on_oom",       "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/user/max_user_namespaces", "/proc/irq/default_smp_affinity",
};

/* Hidden from tools: each must be absent, unreadable or empty. */
static const char *const MASKED[] = {
    "/proc/asound",       "/proc/acpi",        "/proc/kcore",       "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",         "/proc/interrupts",  "/sys/firmware",
    "/sys/devices/virtual/powercap",
};

static int write_same(const char *path) {
    char value[1024];
    ssize_t length = read_small(path, value, sizeof value);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return errno;
    int error = length > 0 ? error_of(write(fd, value, (size_t)length)) : 0;
    close(fd);
    return error;
}

/* The bytes of a file, at most 64 KiB, or the entries of a directory; minus an errno. */
static int64_t content_of(const char *path) {
    static char room[64 * KIB];
    DIR *dir = opendir(path);
    if (!dir) return errno == ENOTDIR ? read_small(path, room, sizeof room) : -errno;
    int64_t entries = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) entries += !is_dots(entry->d_name);
    closedir(dir);
    return entries;
}

static void put_masked(void) {
    key("masked");
    put("{");
    for (size_t i = 0; i < sizeof MASKED / sizeof *MASKED; i++)
        put_int_member(MASKED[i], content_of(MASKED[i]));
    put("}");
}

/* `open` and `write`: an errno for each path; `masked`: what each holds, minus an errno. */
static void op_proc_writes(void) {
    put("{\"open\":{");
    for (size_t i = 0; i < sizeof SWITCHES / sizeof *SWITCHES; i++)
        put_int_member(SWITCHES[i], try_open(SWITCHES[i], O_WRONLY));
    put("},\"write\":{");
    for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++)
        put_int_member(SETTINGS[i], write_same(SETTINGS[i]));
    put("}");
    put_masked();
    put("}");
}

/* Only the masked paths of `proc_writes`. */
static void op_masked(void) {
    put("{");
    put_masked();
    put("}");
}

/* ---- cgroups ---------------------------------------------------------------------------------- */

static const char *const CGROUP_FILES[] = {
    "release_agent", "notify_on_release", "cgroup.procs", "tasks", "cgroup.subtree_control", "devices.allow",
};

static void put_cgroup(const char *directory) {
    char path[PATH_SIZE];
    key(directory);
    put("{");
    for (size_t i = 0; i < sizeof CGROUP_FILES / sizeof *CGROUP_FILES; i++)
        put_int_member(CGROUP_FILES[i], try_open(join(path, directory, CGROUP_FILES[i]), O_WRONLY));
    join(path, directory, "axocoatl-probe");
    int error = error_of(mkdir(path, 0755));
    put_int_member("mkdir", error);
    if (error == 0) rmdir(path);
    put("}");
}

static int mount_cgroup(const void *with) {
    const char *const *type = with;
    mkdir("/tmp/cgroup", 0755);
    int error = error_of(mount("none", "/tmp/cgroup", type[0], 0, type[1]));
    if (error == 0) umount2("/tmp/cgroup", MNT_DETACH);
    return error;
}

/* `mounted`: the cgroup file systems there are; `found`: what can be opened for writing or made in
 * each and in the usual places; `mount`: what mounting one comes to. An errno each. */
static void op_cgroup_escape(void) {
    static const char *const USUAL[] = {
        "/sys/fs/cgroup",        "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup/unified", "/sys/fs/cgroup/rdma",
    };
    static const char *const TYPES[][2] = {
        {"cgroup2", NULL}, {"cgroup", "rdma"}, {"cgroup", "memory"}, {"cgroup", "none,name=axocoatl"}};
    static char room[64 * KIB];
    char *rest = NULL;
    put("{\"mounted\":[");
    FILE *table = fopen("/proc/self/mounts", "re");
    for (struct mntent *mount; table && (mount = getmntent(table)) != NULL;) {
        if (strncmp(mount->mnt_type, "cgroup", 6) != 0) continue;
        separate();
        put_json_text(mount->mnt_dir);
        size_t used = strlen(room);
        snprintf(room + used, sizeof room - used, "%s\n", mount->mnt_dir);
    }
    if (table) fclose(table);
    put("],\"found\":{");
    for (char *line = strtok_r(room, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        put_cgroup(line);
    for (size_t i = 0; i < sizeof USUAL / sizeof *USUAL; i++) put_cgroup(USUAL[i]);
    put("},\"mount\":{");
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", TYPES[i][0], TYPES[i][1] ? TYPES[i][1] : "");
        put_int_member(name, in_child(mount_cgroup, TYPES[i]));
    }
    put("}}");
}

/* ---- devices ---------------------------------------------------------------------------------- */

static const char *const DIRECTORIES[] = {
    "/", "/tmp", "/axocoatl", "/dev", "/dev/shm", "/dev/mqueue", "/run", "/var/tmp", "/var", "/home", "/root",
};
#define DIRECTORY_COUNT (sizeof DIRECTORIES / sizeof *DIRECTORIES)

static const struct {
    const char *name;
    mode_t type;
    unsigned major, minor;
} NODES[] = {
    {"null", S_IFCHR, 1, 3},   {"mem", S_IFCHR, 1, 1},    {"kmsg", S_IFCHR, 1, 11},
    {"kvm", S_IFCHR, 10, 232}, {"fuse", S_IFCHR, 10, 229}, {"tun", S_IFCHR, 10, 200},
    {"sda", S_IFBLK, 8, 0},    {"vda", S_IFBLK, 254, 0},  {"loop0", S_IFBLK, 7, 0},
};

/* Makes the node, opens it and removes it: {"mknod":E}, and {"open":E} where it was made. */
static void put_node(const char *directory, size_t node) {
    char path[PATH_SIZE], name[64];
    snprintf(name, sizeof name, "axocoatl-probe-%s", NODES[node].name);
    join(path, directory, name);
    int error = error_of(mknod(path, NODES[node].type | 0600, makedev(NODES[node].major, NODES[node].minor)));
    put("{");
    put_int_member("mknod", error);
    if (error == 0) {
        put_int_member("open", try_open(path, O_RDONLY));
        unlink(path);
    }
    put("}");
}

static void put_device_entry(const char *directory, const char *name) {
    char path[PATH_SIZE];
    struct stat status;
    if (lstat(join(path, directory, name), &status) < 0) return;
    char type[] = {S_ISCHR(status.st_mode)   ? 'c'
                   : S_ISBLK(status.st_mode) ? 'b'
                   : S_ISDIR(status.st_mode) ? 'd'
                   : S_ISLNK(status.st_mode) ? 'l'
                                             : '-',
                   '\0'};
    key(name);
    put("{");
    put_text_member("type", type);
    put_int_member("major", major(status.st_rdev));
    put_int_member("minor", minor(status.st_rdev));
    put_int_member("mode", status.st_mode & 07777);
    put("}");
}

/* `made`: nodes made in every directory that tools may write to; `open`: devices of the host by name,
 * an errno each; `entries`: what stands in /dev. */
static void op_devices(void) {
    static const char *const PATHS[] = {
        "/dev/kvm",    "/dev/mem",  "/dev/kmsg",     "/dev/port",    "/dev/fuse",     "/dev/net/tun",
        "/dev/vsock",  "/dev/sda",  "/dev/vda",      "/dev/nvme0n1", "/dev/loop0",    "/dev/loop-control",
        "/dev/vhost-net", "/dev/vhost-vsock", "/dev/console", "/dev/tty0", "/dev/hwrng", "/dev/userfaultfd",
        "/dev/mapper/control", "/dev/cuse", "/dev/snapshot", "/dev/uinput",
    };
    put("{\"made\":{");
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
        key(DIRECTORIES[i]);
        put("{");
        for (size_t node = 0; node < sizeof NODES / sizeof *NODES; node++) {
            key(NODES[node].name);
            put_node(DIRECTORIES[i], node);
        }
        put("}");
    }
    put("},\"open\":{");
    for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++)
        put_int_member(PATHS[i], try_open(PATHS[i], O_RDWR));
    put("},\"entries\":{");
    DIR *dir = opendir("/dev");
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        if (!is_dots(entry->d_name)) put_device_entry("/dev", entry->d_name);
    if (dir) closedir(dir);
    put("}}");
}
