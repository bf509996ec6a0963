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
