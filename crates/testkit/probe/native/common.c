/* What the native ops share: objects in the output, children, small files, and the guard. */

/* No op outlives this, whatever it ignores and whoever forgot it. */
#define LIFETIME_SECONDS 120
/* One attempt of one thing in a child of its own. */
#define ATTEMPT_SECONDS 5
#define SMALL_FILE (16 * KIB)

/* ---- objects: commas by themselves ------------------------------------------------------------ */

static void separate(void) {
    char last = out.length > 0 ? out.bytes[out.length - 1] : '{';
    if (last != '{' && last != '[') put(",");
}

static void key(const char *name) {
    separate();
    put_json_text(name);
    put(":");
}

static void put_int_member(const char *name, int64_t value) {
    key(name);
    put_int(value);
}

static void put_text_member(const char *name, const char *value) {
    key(name);
    put_json_text(value);
}

static void put_bool_member(const char *name, bool value) {
    key(name);
    put(value ? "true" : "false");
}

/* An errno from the result of a call. */
static int error_of(long result) { return result < 0 ? errno : 0; }

/* ---- small files ------------------------------------------------------------------------------ */

/* Reads at most `size - 1` bytes of a file of /proc or /sys. Returns the length, or minus an errno. */
static ssize_t read_small(const char *path, char *room, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    room[0] = '\0';
    if (fd < 0) return -errno;
    size_t length = 0;
    ssize_t n = 0;
    while (length + 1 < size && (n = read(fd, room + length, size - length - 1)) > 0)
        length += (size_t)n;
    int error = errno;
    close(fd);
    room[length] = '\0';
    return n < 0 && length == 0 ? -error : (ssize_t)length;
}

/* The content of a small file as a member, without its last newline; `null` if it cannot be read. */
static void put_file_member(const char *name, const char *path) {
    static char room[SMALL_FILE];
    ssize_t length = read_small(path, room, sizeof room);
    key(name);
    if (length < 0) {
        put("null");
        return;
    }
    while (length > 0 && room[length - 1] == '\n') length--;
    put_json(room, (size_t)length);
}

/* Where the link `path` leads, as a member; an errno where that cannot be read. */
static void put_link_member(const char *name, const char *path) {
    char target[PATH_SIZE];
    ssize_t length = readlink(path, target, sizeof target);
    key(name);
    if (length < 0) put_int(errno);
    else put_json(target, (size_t)length);
}

/* Opens and closes; an errno. */
static int try_open(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = error_of(fd);
    if (fd >= 0) close(fd);
    return error;
}

/* `DIRECTORY/NAME`; empty when that is too long. */
static const char *join(char room[PATH_SIZE], const char *directory, const char *name) {
    const char *before = strcmp(directory, "/") == 0 ? "" : directory;
    if (snprintf(room, PATH_SIZE, "%s/%s", before, name) >= (int)PATH_SIZE) room[0] = '\0';
    return room;
}

/* The next entry of /proc that is a process, or 0. */
static pid_t next_process(DIR *proc) {
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') return atoi(entry->d_name);
    return 0;
}

/* ---- children --------------------------------------------------------------------------------- */

/* A child that dies with us, and in any case soon. Returns as fork(2). */
static pid_t fork_bounded(unsigned seconds) {
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(seconds);
    }
    return child;
}

static int wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return status;
}

/* What `attempt` comes to in a child, which may be changed or killed by it: an errno, or minus the
 * signal that ended it. */
static int in_child(int (*attempt)(const void *), const void *with) {
    pid_t child = fork_bounded(ATTEMPT_SECONDS);
    if (child < 0) return errno;
    if (child == 0) _exit(attempt(with));
    int status = wait_for(child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void pause_for(int64_t ms) {
    struct timespec wait = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&wait, &wait) < 0 && errno == EINTR) {
    }
}

/* ---- the guard -------------------------------------------------------------------------------- */

/* Whether `/proc/self/status` says that no capability is in effect. */
static bool without_capabilities(void) {
    static char room[SMALL_FILE];
    read_small("/proc/self/status", room, sizeof room);
    const char *at = strstr(room, "\nCapEff:\t");
    return at && strspn(at + strlen("\nCapEff:\t"), "0") == 16;
}

static bool in_user_namespace(void) {
    unsigned inside, outside, count;
    char room[256];
    return read_small("/proc/self/uid_map", room, sizeof room) > 0 &&
           sscanf(room, "%u %u %u", &inside, &outside, &count) == 3 &&
           !(inside == 0 && outside == 0 && count == UINT32_MAX);
}

/* Hostile ops run only as a tool, and only where nothing of the host is theirs to change: without
 * capabilities or in a user namespace. A mistaken run outside does nothing. */
static void must_be_sandboxed(const char *op) {
    if (!getenv("AXOCOATL_CALL_ID") || !(in_user_namespace() || without_capabilities()))
        usage("only in a sandbox: ", op);
}
