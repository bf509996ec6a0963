/* Ops that call what tools have no business calling: threats 16, 17, 25 and 26.
 *
 * Every call is harmless where it is permitted: its other arguments are such that the kernel
 * refuses them, or changes nothing, after it has checked the permission.
 */

struct attempt {
    const char *name;
    long number;
    long arguments[5];
};

static int call_kernel(const void *with) {
    const struct attempt *a = with;
    const long *at = a->arguments;
    return error_of(syscall(a->number, at[0], at[1], at[2], at[3], at[4]));
}

static void put_attempt(const struct attempt *attempt) {
    put_int_member(attempt->name, in_child(call_kernel, attempt));
}

#define AT(value) ((long)(uintptr_t)(value))
#define NOWHERE "/axocoatl/no-such-file"

static uint64_t zeros[64];
static int map_attributes[] = {BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0};
static struct perf_event_attr event = {
    .type = PERF_TYPE_SOFTWARE,
    .size = sizeof event,
    .config = PERF_COUNT_SW_DUMMY,
    .exclude_kernel = 1,
    .exclude_hv = 1,
};
static struct {
    struct file_handle head;
    char bytes[128];
} handle = {.head = {.handle_bytes = 8}};
static struct timex no_tick = {.modes = ADJ_TICK};

static int call_vmsplice(const void *with) {
    (void)with;
    int ends[2];
    struct iovec part = {zeros, sizeof zeros};
    if (pipe(ends) < 0) return errno;
    return error_of(vmsplice(ends[1], &part, 1, 0));
}

/* To the time it is: a step of nothing, where it is permitted. */
static int call_clock_settime(const void *with) {
    (void)with;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return error_of(clock_settime(CLOCK_REALTIME, &now));
}

/* Without a terminal there is nothing to hang up. */
static int call_vhangup(const void *with) {
    (void)with;
    setsid();
    return error_of(vhangup());
}

static int call_setns(const void *with) {
    int fd = open(with, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    return error_of(setns(fd, 0));
}

static int call_process_madvise(const void *with) {
    (void)with;
    struct iovec part = {zeros, sizeof zeros};
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return error_of(syscall(SYS_process_madvise, self, &part, 1, MADV_COLD, 0));
}

static const char *const NAMESPACES[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
#define NAMESPACE_COUNT (sizeof NAMESPACES / sizeof *NAMESPACES)

static void op_kernel_calls(void) {
    const struct attempt CALLS[] = {
        {"mount", SYS_mount, {AT("none"), AT("/tmp"), AT("tmpfs"), 0, 0}},
        {"umount2", SYS_umount2, {AT("/tmp"), MNT_EXPIRE}},
        {"pivot_root", SYS_pivot_root, {AT("/"), AT("/")}},
        {"chroot", SYS_chroot, {AT("/")}},
        {"fsopen", SYS_fsopen, {AT("tmpfs"), 0}},
        {"fspick", SYS_fspick, {AT_FDCWD, AT("/"), 0}},
        {"fsmount", SYS_fsmount, {-1, 0, 0}},
        {"open_tree", SYS_open_tree, {AT_FDCWD, AT("/"), OPEN_TREE_CLONE}},
        {"move_mount", SYS_move_mount, {-1, AT(""), -1, AT(""), 0}},
        {"mount_setattr", SYS_mount_setattr, {AT_FDCWD, AT("/"), 0, AT(zeros), 32}},
        {"io_uring_setup", SYS_io_uring_setup, {1, AT(zeros)}},
        {"io_uring_enter", SYS_io_uring_enter, {-1, 0, 0, 0, 0}},
        {"io_uring_register", SYS_io_uring_register, {-1, 0, 0, 0}},
        {"bpf", SYS_bpf, {BPF_MAP_CREATE, AT(map_attributes), sizeof map_attributes}},
        {"userfaultfd", SYS_userfaultfd, {1 /* UFFD_USER_MODE_ONLY */}},
        {"perf_event_open", SYS_perf_event_open, {AT(&event), 0, -1, -1, 0}},
        {"fanotify_init", SYS_fanotify_init, {0x200 /* FAN_REPORT_FID */, 0}},
        {"init_module", SYS_init_module, {0, 0, AT("")}},
        {"finit_module", SYS_finit_module, {-1, AT(""), 0}},
        {"delete_module", SYS_delete_module, {AT("axocoatl_no_such_module"), O_NONBLOCK}},
        {"kexec_load", SYS_kexec_load, {0, 0, 0, 0xff00 /* no such flags */}},
        {"kexec_file_load", SYS_kexec_file_load, {-1, -1, 0, 0, 0xff00}},
        {"swapon", SYS_swapon, {AT(NOWHERE), 0}},
        {"swapoff", SYS_swapoff, {AT(NOWHERE)}},
        {"reboot", SYS_reboot, {0, 0, 0, 0} /* no magic */},
        {"sethostname", SYS_sethostname, {AT(zeros), 65536} /* too long */},
        {"setdomainname", SYS_setdomainname, {AT(zeros), 65536}},
        {"settimeofday", SYS_settimeofday, {0, 0}},
        {"clock_adjtime", SYS_clock_adjtime, {CLOCK_REALTIME, AT(&no_tick)}},
        {"acct", SYS_acct, {AT(NOWHERE)}},
        {"quotactl", SYS_quotactl, {QCMD(Q_QUOTAOFF, USRQUOTA), AT(NOWHERE), 0, 0}},
        {"syslog", SYS_syslog, {10 /* the buffer's size */, 0, 0}},
#ifdef SYS_iopl
        {"iopl", SYS_iopl, {3}},
        {"ioperm", SYS_ioperm, {0x80, 1, 1}},
#endif
#ifdef SYS_uselib
        {"uselib", SYS_uselib, {AT(NOWHERE)}},
#endif
        {"nfsservctl", SYS_nfsservctl, {0, 0, 0}},
        {"lookup_dcookie", SYS_lookup_dcookie, {0, AT(zeros), sizeof zeros}},
        {"open_by_handle_at", SYS_open_by_handle_at, {AT_FDCWD, AT(&handle), O_RDONLY}},
        {"name_to_handle_at", SYS_name_to_handle_at, {AT_FDCWD, AT("/"), AT(&handle), AT(zeros), 0}},
        {"memfd_secret", SYS_memfd_secret, {0}},
        {"personality", SYS_personality, {0x40000 /* ADDR_NO_RANDOMIZE */}},
    };
    put("{");
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) put_attempt(&CALLS[i]);
    put_int_member("vmsplice", in_child(call_vmsplice, NULL));
    put_int_member("clock_settime", in_child(call_clock_settime, NULL));
    put_int_member("vhangup", in_child(call_vhangup, NULL));
    put_int_member("process_madvise", in_child(call_process_madvise, NULL));
    for (size_t i = 0; i < NAMESPACE_COUNT; i++) {
        char name[32], path[64];
        snprintf(name, sizeof name, "setns_%s", NAMESPACES[i]);
        snprintf(path, sizeof path, "/proc/self/ns/%s", NAMESPACES[i]);
        put_int_member(name, in_child(call_setns, path));
    }
    put("}");
}

/* ---- new namespaces --------------------------------------------------------------------------- */

static int call_unshare(const void *with) { return error_of(unshare((int)*(const uint64_t *)with)); }

/* A child in new namespaces, which ends at once. */
static int call_clone(const void *with) {
    long child = syscall(SYS_clone, *(const uint64_t *)with | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    return error_of(child);
}

static int call_clone3(const void *with) {
    uint64_t arguments[8] = {[0] = *(const uint64_t *)with, [4] = SIGCHLD}; /* struct clone_args */
    long child = syscall(SYS_clone3, arguments, sizeof arguments);
    if (child == 0) _exit(0);
    return error_of(child);
}

/* unshare, clone and clone3 with each flag that makes a namespace: `unshare_user` and so on. */
static void op_userns(void) {
    static const struct {
        const char *name;
        uint64_t flags;
    } FLAGS[] = {
        {"user", CLONE_NEWUSER},     {"mnt", CLONE_NEWNS},
        {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
        {"ipc", CLONE_NEWIPC},       {"uts", CLONE_NEWUTS},
        {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80 /* CLONE_NEWTIME */},
        {"user_mnt", CLONE_NEWUSER | CLONE_NEWNS},
    };
    char name[32];
    put("{");
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        snprintf(name, sizeof name, "unshare_%s", FLAGS[i].name);
        put_int_member(name, in_child(call_unshare, &FLAGS[i].flags));
        if (FLAGS[i].flags != 0x80) { /* in clone these bits are the signal */
            snprintf(name, sizeof name, "clone_%s", FLAGS[i].name);
            put_int_member(name, in_child(call_clone, &FLAGS[i].flags));
        }
        snprintf(name, sizeof name, "clone3_%s", FLAGS[i].name);
        put_int_member(name, in_child(call_clone3, &FLAGS[i].flags));
    }
    uint64_t none = 0;
    put_int_member("clone3", in_child(call_clone3, &none));
    put("}");
}

/* ---- keys ------------------------------------------------------------------------------------- */

static void op_keyring(void) {
    const struct attempt CALLS[] = {
        {"add_key", SYS_add_key, {AT("user"), AT("axocoatl"), AT("x"), 1, -2 /* the process's */}},
        {"request_key", SYS_request_key, {AT("user"), AT("axocoatl"), 0, 0}},
        {"keyctl_session", SYS_keyctl, {0 /* KEYCTL_GET_KEYRING_ID */, -3, 0}},
        {"keyctl_user", SYS_keyctl, {0, -4, 1}},
        {"keyctl_user_session", SYS_keyctl, {0, -5, 1}},
        {"keyctl_join", SYS_keyctl, {1 /* KEYCTL_JOIN_SESSION_KEYRING */, 0}},
    };
    put("{");
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) put_attempt(&CALLS[i]);
    put("}");
}

/* ---- other processes -------------------------------------------------------------------------- */

static int trace_me(const void *with) {
    (void)with;
    return error_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int seize(const void *with) {
    return error_of(ptrace(PTRACE_SEIZE, *(const pid_t *)with, NULL, NULL));
}

/* Of our own memory, which is always permitted, unless the call itself is not. */
static int copy_memory(long number) {
    uint64_t word = 0;
    struct iovec here = {&word, sizeof word}, there = {zeros, sizeof word};
    return error_of(syscall(number, getpid(), &here, 1, &there, 1, 0));
}

static int take_descriptor(pid_t process) {
    int fd = (int)syscall(SYS_pidfd_open, process, 0);
    if (fd < 0) return errno;
    int error = error_of(syscall(SYS_pidfd_getfd, fd, 0, 0));
    close(fd);
    return error;
}

/* What can be done to processes: an errno each; `seen` and `listed` are the numbers of others that
 * answer to a signal and that stand in /proc, among the first 1000. */
static void op_peers(void) {
    pid_t self = getpid(), first = 1;
    put("{");
    put_int_member("pid", self);
    put_int_member("ptrace_traceme", in_child(trace_me, NULL));
    put_int_member("ptrace_parent", in_child(seize, &self));
    put_int_member("ptrace_first", self == 1 ? EPERM : in_child(seize, &first));
    put_int_member("process_vm_readv", copy_memory(SYS_process_vm_readv));
    put_int_member("process_vm_writev", copy_memory(SYS_process_vm_writev));
    put_int_member("pidfd_getfd", take_descriptor(self));
    put_int_member("pidfd_getfd_first", take_descriptor(1));
    put_int_member("kcmp", error_of(syscall(SYS_kcmp, self, self, 0, 0, 0)));
    put_int_member("memory_of_first", self == 1 ? EACCES : try_open("/proc/1/mem", O_RDWR));
    put_int_member("environment_of_first", self == 1 ? EACCES : try_open("/proc/1/environ", O_RDONLY));
    key("seen");
    put("[");
    for (pid_t other = 1; other <= 1000; other++) {
        if (other == self || (kill(other, 0) < 0 && errno == ESRCH)) continue;
        separate();
        put_int(other);
    }
    put("]");
    key("listed");
    put("[");
    DIR *proc = opendir("/proc");
    for (pid_t other; proc && (other = next_process(proc)) != 0;) {
        if (other == self) continue;
        separate();
        put_int(other);
    }
    if (proc) closedir(proc);
    put("]}");
}
