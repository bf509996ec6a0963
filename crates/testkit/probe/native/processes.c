/* Ops about processes, signals and ends: threats 1, 6, 8, 9 and the ends of §5.4. */

#define MOST_CHILDREN 10000
#define MOST_THREADS 256

static pid_t children[MOST_CHILDREN];

/* Children that do `as`, until that fails or there are `count`. */
static size_t fork_many(size_t count, void (*as)(void), int *error) {
    size_t forked = 0;
    *error = 0;
    while (forked < count) {
        pid_t child = fork_bounded(LIFETIME_SECONDS);
        if (child == 0) as();
        if (child < 0) {
            *error = errno;
            break;
        }
        children[forked++] = child;
    }
    return forked;
}

static void end_many(size_t count) {
    for (size_t i = 0; i < count; i++) kill(children[i], SIGKILL);
    for (size_t i = 0; i < count; i++) wait_for(children[i]);
}

static void wait_forever(void) {
    for (;;) pause();
}

static void leave(void) { _exit(0); }

static size_t count_argument(const char *name, size_t most) {
    uint64_t count = number(name);
    return count < most ? (size_t)count : most;
}

/* {"count":N,"hold_ms":M}: N children that wait, held for M ms, then ended. */
static void op_fork_bomb(void) {
    int error;
    size_t forked = fork_many(count_argument("count", MOST_CHILDREN), wait_forever, &error);
    pause_for(number_or("hold_ms", 0));
    end_many(forked);
    put_count_object("forked", forked, error);
}

/* The state letter of a process, or 0. */
static char state_of(pid_t process) {
    char path[64], room[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    const char *end = read_small(path, room, sizeof room) > 0 ? strrchr(room, ')') : NULL;
    return end && end[1] == ' ' ? end[2] : '\0';
}

/* {"count":N}: children that end and are not waited for. The op ends with them unwaited. */
static void op_zombies(void) {
    int error;
    size_t forked = fork_many(count_argument("count", MOST_CHILDREN), leave, &error), zombies = 0;
    for (int tries = 0; tries < 50 && zombies < forked; tries++) {
        pause_for(10);
        zombies = 0;
        for (size_t i = 0; i < forked; i++) zombies += state_of(children[i]) == 'Z';
    }
    put("{");
    put_int_member("forked", (int64_t)forked);
    put_int_member("zombies", (int64_t)zombies);
    separate();
    put_errno(error);
    put("}");
}

static void *spin_thread(void *argument) {
    for (volatile unsigned turns = 0;; turns++) {
    }
    return argument;
}

/* {"threads":N,"ms":M}: N busy threads; with M they end after that and the op tells the count. */
static void op_spin_threads(void) {
    size_t count = count_argument("threads", MOST_THREADS), started = 0;
    int error = 0;
    while (started < count && error == 0) {
        pthread_t thread;
        error = pthread_create(&thread, NULL, spin_thread, NULL);
        if (error == 0) started++;
    }
    pause_for(number_or("ms", LIFETIME_SECONDS * 1000));
    put_count_object("started", started, error);
}

/* In a session of its own, twice removed from us, and not to be ended with us. */
static void daemonise(bool keep_streams, unsigned seconds) {
    pid_t child = fork();
    if (child != 0) {
        if (child > 0) wait_for(child);
        return;
    }
    setsid();
    if (fork() != 0) _exit(0);
    alarm(seconds);
    if (!keep_streams)
        for (int fd = 0; fd < 3; fd++) close(fd);
    wait_forever();
}

/* {"seconds":N,"streams":"open"|"closed","hold_ms":M}: leaves a daemon and ends M ms later. */
static void op_daemonise(void) {
    char streams[16];
    string("streams", streams, sizeof streams, "closed");
    put("{\"ok\":true}");
    flush();
    daemonise(strcmp(streams, "open") == 0, (unsigned)number_or("seconds", LIFETIME_SECONDS));
    pause_for(number_or("hold_ms", 0));
}

/* {"seconds":N}: ends at once with its output written; a child in the background keeps standard
 * output and error open. */
static void op_hold_pipe(void) {
    put("{\"ok\":true}");
    flush();
    if (fork() != 0) return;
    alarm((unsigned)number_or("seconds", LIFETIME_SECONDS));
    wait_forever();
}

static void ignore(int signal) { (void)signal; }

/* {"how":"sleep"|"spin"}: ends on no signal that can be caught, and on none that can be ignored. */
static void op_ignore_signals(void) {
    char how[16];
    string("how", how, sizeof how, "sleep");
    alarm(0);
    for (int signal = 1; signal <= 64; signal++) {
        struct sigaction action = {.sa_handler = ignore};
        sigaction(signal, &action, NULL);
    }
    prctl(PR_SET_PDEATHSIG, 0);
    int64_t end = milliseconds(CLOCK_MONOTONIC) + LIFETIME_SECONDS * 1000;
    while (milliseconds(CLOCK_MONOTONIC) < end)
        if (strcmp(how, "sleep") == 0) pause_for(100);
    put("{\"ok\":true}");
}

/* {"signal":N}: sends it to itself; 6 is abort(3). Process 1 of a namespace survives its own
 * signals, so `pid` stands beside the answer. */
static void op_signal_self(void) {
    int signal = (int)number("signal");
    if (signal == SIGABRT) abort();
    int error = error_of(kill(getpid(), signal));
    pause_for(50);
    put("{\"survived\":true");
    put_int_member("pid", getpid());
    put_int_member("errno", error);
    put("}");
}

static int allocate_touched(const void *with) {
    uint64_t wanted = *(const uint64_t *)with;
    for (uint64_t done = 0; done < wanted; done += MIB) {
        char *chunk = malloc(MIB);
        if (!chunk) return ENOMEM;
        for (size_t at = 0; at < MIB; at += PAGE) chunk[at] = 1;
        keep(chunk);
    }
    return 0;
}

/* {"bytes":N}: a child allocates; we tell its end, `result`: 0, an errno, or minus a signal. */
static void op_oom_child(void) {
    uint64_t bytes = number("bytes");
    int result = in_child(allocate_touched, &bytes);
    put("{");
    put_int_member("result", result);
    put("}");
}

/* {"ms":N,"code":C}: closes its three streams, lives on for N ms, ends with status C. */
static void op_close_streams(void) {
    put("{\"ok\":true}");
    flush();
    for (int fd = 0; fd < 3; fd++) close(fd);
    pause_for((int64_t)number("ms"));
    _exit((int)number_or("code", 0));
}

/* A JSON document that stops in the middle. */
static void op_partial_json(void) { put("{\"a\":[1,2"); }

/* Writes and ends without having read its input: see `unread_input`. */
static void op_stdin_partial(void) { put("{\"read\":0}"); }

/* Whether the input, which the file tells as well, asks for standard input to be left alone. */
static bool unread_input(void) {
    static const char WANTED[] = "{\"op\":\"stdin_partial\"";
    char start[sizeof WANTED];
    return read_small(INPUT_FILE, start, sizeof start) == sizeof WANTED - 1 &&
           strcmp(start, WANTED) == 0;
}

static void put_limit(rlim_t value) { put_int(value == RLIM_INFINITY ? -1 : (int64_t)value); }

static const struct {
    const char *name;
    int resource;
} LIMITS[] = {
    {"cpu", RLIMIT_CPU},           {"fsize", RLIMIT_FSIZE},
    {"data", RLIMIT_DATA},         {"stack", RLIMIT_STACK},
    {"core", RLIMIT_CORE},         {"rss", RLIMIT_RSS},
    {"nproc", RLIMIT_NPROC},       {"nofile", RLIMIT_NOFILE},
    {"memlock", RLIMIT_MEMLOCK},   {"as", RLIMIT_AS},
    {"locks", RLIMIT_LOCKS},       {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"rtprio", RLIMIT_RTPRIO},     {"rttime", RLIMIT_RTTIME},
};

/* The limits of the process, [soft, hard] each; -1 is no limit. */
static void put_limits(void) {
    put("{");
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        struct rlimit limit = {0};
        getrlimit((__rlimit_resource_t)LIMITS[i].resource, &limit);
        key(LIMITS[i].name);
        put("[");
        put_limit(limit.rlim_cur);
        put(",");
        put_limit(limit.rlim_max);
        put("]");
    }
    put("}");
}

/* One above the hard limit of each, where there is one: an errno, or -1 where there is none. */
static void op_rlimit_raise(void) {
    put("{");
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        struct rlimit limit = {0};
        __rlimit_resource_t resource = (__rlimit_resource_t)LIMITS[i].resource;
        getrlimit(resource, &limit);
        if (limit.rlim_max == RLIM_INFINITY) {
            put_int_member(LIMITS[i].name, -1);
            continue;
        }
        limit.rlim_max++;
        put_int_member(LIMITS[i].name, error_of(setrlimit(resource, &limit)));
    }
    put("}");
}

/* ---- what the kernel counts by user ----------------------------------------------------------- */

#define MOST_COUNTED 8192
#define COUNTED_QUEUE_BYTES 10000

static int use_inotify_instance(int64_t number) {
    (void)number;
    return error_of(inotify_init1(IN_CLOEXEC));
}

static int use_inotify_watch(int64_t number) {
    static int instance = -1;
    char path[64];
    if (instance < 0 && (instance = inotify_init1(IN_CLOEXEC)) < 0) return errno;
    snprintf(path, sizeof path, "/tmp/watched-%d", (int)number);
    if (mkdir(path, 0755) < 0) return errno;
    return error_of(inotify_add_watch(instance, path, IN_CREATE));
}

/* It stays pending: nobody takes it. */
static int use_signal(int64_t number) {
    union sigval value = {.sival_int = (int)number};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    return error_of(sigqueue(getpid(), SIGRTMIN, value));
}

/* The kernel counts what a queue may hold at most, and a little more. */
static int use_queue(int64_t number) {
    struct mq_attr holds = {.mq_maxmsg = 10, .mq_msgsize = COUNTED_QUEUE_BYTES / 10};
    char name[64];
    snprintf(name, sizeof name, "counted-%d", (int)number);
    return error_of(syscall(SYS_mq_open, name, O_CREAT | O_EXCL | O_RDWR, 0600, &holds));
}

/* {"what":W,"most":N,"full":P,"until":Q}: takes one after the other until it fails or there are N.
 * Then, with P, makes that file, and waits for the file Q with all that it took. */
static void op_use_up(void) {
    static const struct {
        const char *name;
        int (*use)(int64_t number);
    } COUNTED[] = {
        {"inotify_instances", use_inotify_instance},
        {"inotify_watches", use_inotify_watch},
        {"signals", use_signal},
        {"queues", use_queue},
    };
    char what[32], full[PATH_SIZE], until[PATH_SIZE];
    string("what", what, sizeof what, "");
    string("full", full, sizeof full, "");
    string("until", until, sizeof until, "");
    size_t most = count_argument("most", MOST_COUNTED), used = 0;
    int error = EINVAL;
    for (size_t i = 0; i < sizeof COUNTED / sizeof *COUNTED; i++)
        if (strcmp(COUNTED[i].name, what) == 0)
            for (error = 0; used < most && (error = COUNTED[i].use((int64_t)used)) == 0;) used++;
    if (*full) {
        int fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0) close(fd);
        for (int tries = 0; tries < 6000 && access(until, F_OK) < 0; tries++) pause_for(10);
    }
    put_count_object("used", used, error);
}

/* ---- priority --------------------------------------------------------------------------------- */

#define IOPRIO_REAL_TIME (1 << 13)

static int set_oom_score(const char *score) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = error_of(write(fd, score, strlen(score)));
    close(fd);
    return error;
}

/* How it stands with the scheduler and the kernel's killer, and what comes of wanting better: an
 * errno each. */
static void op_priority(void) {
    struct sched_param first = {.sched_priority = 1};
    put("{");
    put_int_member("policy", sched_getscheduler(0));
    errno = 0;
    put_int_member("nice", getpriority(PRIO_PROCESS, 0));
    put_int_member("io", syscall(SYS_ioprio_get, 1, 0) >> 13);
    put_file_member("oom_score_adj", "/proc/self/oom_score_adj");
    key("raise");
    put("{");
    put_int_member("nice", error_of(setpriority(PRIO_PROCESS, 0, -1)));
    put_int_member("policy", error_of(sched_setscheduler(0, SCHED_RR, &first)));
    put_int_member("io", error_of(syscall(SYS_ioprio_set, 1, 0, IOPRIO_REAL_TIME)));
    put_int_member("oom_score_below_all", set_oom_score("-1"));
    put_int_member("oom_score_as_all", set_oom_score("0"));
    put("}}");
}
