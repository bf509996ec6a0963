/* Ops that run copies of this program, with more rights if they can: threat 27. */

/* Copies this program to `path`. */
static int copy_self(const char *path, mode_t mode) {
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (from < 0) return errno;
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    int error = error_of(to);
    static char block[64 * KIB];
    for (ssize_t n; error == 0 && (n = read(from, block, sizeof block)) > 0;)
        error = write_all(to, block, (size_t)n, NULL);
    close(from);
    if (to >= 0) {
        if (error == 0) error = error_of(fchmod(to, mode));
        close(to);
    }
    return error;
}

/* {"path":P,"mode":M} */
static void op_copy_self(void) {
    put_errno_object(copy_self(path_argument("path"), (mode_t)number_or("mode", 0755)));
}

/* Runs a copy of this program with `input`; what it writes is in `answer`. An errno, or 0 when it ran
 * and ended with 0. */
static int run_copy(const char *path, const char *input, char *answer, size_t size) {
    int in[2], from[2];
    answer[0] = '\0';
    if (pipe(in) < 0 || pipe(from) < 0) return errno;
    pid_t child = fork_bounded(ATTEMPT_SECONDS);
    if (child == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        for (int i = 0; i < 2; i++) close(in[i]), close(from[i]);
        char *arguments[] = {(char *)path, NULL};
        execv(path, arguments);
        _exit(errno);
    }
    int error = error_of(child);
    close(in[0]);
    close(from[1]);
    if (child > 0) write_all(in[1], input, strlen(input), NULL);
    close(in[1]);
    if (child > 0) {
        struct text written = read_to_end(from[0], answer, size);
        (void)written;
        int status = wait_for(child);
        error = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    }
    close(from[0]);
    return error;
}

/* Runs `path`, expected to be a copy of this program, and puts what it is. */
static void put_run(const char *name, const char *path) {
    char answer[4 * KIB];
    int error = run_copy(path, "{\"op\":\"uid\"}", answer, sizeof answer);
    key(name);
    put("{");
    put_int_member("exec", error);
    if (answer[0] == '{') {
        key("is");
        put(answer);
    }
    put("}");
}

/* Copies of this program in /tmp and in memory, run: what each comes to. */
static void op_tmp_exec(void) {
    char path[64];
    put("{");
    put_int_member("copy", copy_self("/tmp/probe-copy", 0755));
    put_run("tmp", "/tmp/probe-copy");
    int memory = memfd_create("probe", 0);
    put_int_member("memfd", error_of(memory));
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    put_int_member("memfd_copy", memory < 0 ? EBADF : copy_self(path, 0755));
    int readable = open(path, O_RDONLY); /* what is open for writing cannot be run */
    close(memory);
    snprintf(path, sizeof path, "/proc/self/fd/%d", readable);
    put_run("memory", path);
    put("}");
}

/* {"path":P}: before and after everything that would change the user; P, if given, is a copy of this
 * program that is set-user-id for somebody. */
static void op_setuid(void) {
    char path[PATH_SIZE];
    string("path", path, sizeof path, "");
    put("{\"before\":");
    op_uid();
    put_int_member("setuid", error_of(setuid(0)));
    put_int_member("setresuid", error_of(setresuid(0, 0, 0)));
    put_int_member("setgid", error_of(setgid(0)));
    put_int_member("setresgid", error_of(setresgid(0, 0, 0)));
    gid_t group = 0;
    put_int_member("setgroups", error_of(setgroups(1, &group)));
    put_int_member("copy", copy_self("/tmp/probe-setuid", 0755));
    put_int_member("chmod", error_of(chmod("/tmp/probe-setuid", 06755)));
    put_int_member("chown", error_of(chown("/tmp/probe-setuid", 0, 0)));
    /* struct vfs_cap_data, revision 2: CAP_SYS_ADMIN permitted and effective */
    static const uint32_t ADMIN[] = {0x02000001, 1u << 21, 0, 0, 0};
    put_int_member("file_capability",
                   error_of(setxattr("/tmp/probe-setuid", "security.capability", ADMIN, sizeof ADMIN, 0)));
    put_int_member("raise_ambient", error_of(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0)));
    put_run("own_copy", "/tmp/probe-setuid");
    if (*path) put_run("given", path);
    put(",\"after\":");
    op_uid();
    put("}");
}

/* ---- set-ID files: threat 27 ------------------------------------------------------------------ */

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
/* What reaches the kernel as a call of another architecture, if anything does. */
#define X32_CALL 0x40000000
#define I386_CHMOD 15

struct mode_call {
    const struct mode_way *way;
    const char *directory, *path;
    mode_t mode;
};

/* A way to give a file its mode. */
struct mode_way {
    const char *name;
    long (*take)(const struct mode_call *call);
    bool makes; /* the file as well */
};

static long mode_by_fchmod(const struct mode_call *call) {
    return syscall(SYS_fchmod, open(call->path, O_RDONLY | O_CLOEXEC), call->mode);
}

static long mode_by_fchmodat(const struct mode_call *call) {
    return syscall(SYS_fchmodat, AT_FDCWD, call->path, call->mode);
}

static long mode_by_fchmodat2(const struct mode_call *call) {
    return syscall(SYS_fchmodat2, AT_FDCWD, call->path, call->mode, 0);
}

static long mode_by_openat(const struct mode_call *call) {
    return syscall(SYS_openat, AT_FDCWD, call->path, O_WRONLY | O_CREAT | O_EXCL, call->mode);
}

static long mode_by_openat2(const struct mode_call *call) {
    uint64_t how[3] = {O_WRONLY | O_CREAT | O_EXCL, call->mode, 0};
    return syscall(SYS_openat2, AT_FDCWD, call->path, how, sizeof how);
}

/* A file without a name, which then gets one. */
static long mode_by_tmpfile(const struct mode_call *call) {
    char path[64];
    long fd = syscall(SYS_openat, AT_FDCWD, call->directory, O_WRONLY | O_TMPFILE, call->mode);
    if (fd < 0) return fd;
    snprintf(path, sizeof path, "/proc/self/fd/%ld", fd);
    return linkat(AT_FDCWD, path, AT_FDCWD, call->path, AT_SYMLINK_FOLLOW);
}

static long mode_by_mknodat(const struct mode_call *call) {
    return syscall(SYS_mknodat, AT_FDCWD, call->path, S_IFREG | call->mode, 0);
}

static long mode_by_mkdirat(const struct mode_call *call) {
    return syscall(SYS_mkdirat, AT_FDCWD, call->path, call->mode);
}

#ifdef __x86_64__
static long mode_by_chmod(const struct mode_call *call) {
    return syscall(SYS_chmod, call->path, call->mode);
}

static long mode_by_x32_chmod(const struct mode_call *call) {
    return syscall(SYS_chmod | X32_CALL, call->path, call->mode);
}

static long mode_by_i386_chmod(const struct mode_call *call) {
    static char low[PATH_SIZE]; /* this program lies where addresses are short */
    long result;
    snprintf(low, sizeof low, "%s", call->path);
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(I386_CHMOD), "b"(low), "c"((long)call->mode)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result >= 0) return 0;
    errno = (int)-result;
    return -1;
}

static long mode_by_open(const struct mode_call *call) {
    return syscall(SYS_open, call->path, O_WRONLY | O_CREAT | O_EXCL, call->mode);
}

static long mode_by_creat(const struct mode_call *call) {
    return syscall(SYS_creat, call->path, call->mode);
}

static long mode_by_mknod(const struct mode_call *call) {
    return syscall(SYS_mknod, call->path, S_IFREG | call->mode, 0);
}

static long mode_by_mkdir(const struct mode_call *call) {
    return syscall(SYS_mkdir, call->path, call->mode);
}
#endif

static int take_way(const void *with) {
    const struct mode_call *call = with;
    umask(0);
    return error_of(call->way->take(call));
}

/* What it comes to, in a child, which a filter may kill; and the mode of the file, -1 for none. */
static void put_mode_call(const char *name, const struct mode_call *call) {
    if (!call->way->makes) {
        int fd = open(call->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0) close(fd);
    }
    key(name);
    put("{");
    put_int_member("errno", in_child(take_way, call));
    put_int_member("mode", mode_of(call->path));
    put("}");
}

/* {"path":DIRECTORY}: tries by every way to have files there that are set-user-ID, set-group-ID, or
 * both; and, to see that the way is one, a file that is neither. */
static void op_set_id(void) {
    static const struct mode_way WAYS[] = {
        {"fchmod", mode_by_fchmod, false},
        {"fchmodat", mode_by_fchmodat, false},
        {"fchmodat2", mode_by_fchmodat2, false},
        {"openat", mode_by_openat, true},
        {"openat2", mode_by_openat2, true},
        {"tmpfile", mode_by_tmpfile, true},
        {"mknodat", mode_by_mknodat, true},
        {"mkdirat", mode_by_mkdirat, true},
#ifdef __x86_64__
        {"chmod", mode_by_chmod, false},
        {"x32_chmod", mode_by_x32_chmod, false},
        {"i386_chmod", mode_by_i386_chmod, false},
        {"open", mode_by_open, true},
        {"creat", mode_by_creat, true},
        {"mknod", mode_by_mknod, true},
        {"mkdir", mode_by_mkdir, true},
#endif
    };
    static const struct {
        const char *name;
        mode_t mode;
    } MODES[] = {{"plain", 0755}, {"user", 04755}, {"group", 02755}, {"both", 06755}};
    const char *directory = path_argument("path");
    put("{");
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        key(WAYS[i].name);
        put("{");
        for (size_t j = 0; j < sizeof MODES / sizeof *MODES; j++) {
            char name[64], path[PATH_SIZE];
            snprintf(name, sizeof name, "%s-%s", WAYS[i].name, MODES[j].name);
            put_mode_call(MODES[j].name, &(struct mode_call){&WAYS[i], directory,
                                                             join(path, directory, name), MODES[j].mode});
        }
        put("}");
    }
    put("}");
}
