/* Ops that tell what the process is and has, without trying anything: threat 19 and the posture. */

static void op_cwd(void) {
    char path[PATH_SIZE];
    put("{");
    if (getcwd(path, sizeof path)) put_text_member("cwd", path);
    else put_errno(errno);
    put("}");
}

static void put_host_name(void) {
    struct utsname names;
    uname(&names);
    put_text_member("hostname", names.nodename);
    put_text_member("domainname", names.domainname);
}

static void op_hostname(void) {
    put("{");
    put_host_name();
    put("}");
}

/* [real, effective, saved] */
static void put_ids(const char *name, unsigned real, unsigned effective, unsigned saved) {
    key(name);
    put("[");
    put_int(real);
    put(",");
    put_int(effective);
    put(",");
    put_int(saved);
    put("]");
}

static void put_identity(void) {
    uid_t user[3];
    gid_t group[3], groups[256];
    getresuid(&user[0], &user[1], &user[2]);
    getresgid(&group[0], &group[1], &group[2]);
    put_ids("uid", user[0], user[1], user[2]);
    put_ids("gid", group[0], group[1], group[2]);
    key("groups");
    put("[");
    int count = getgroups(sizeof groups / sizeof *groups, groups);
    for (int i = 0; i < count; i++) {
        separate();
        put_int(groups[i]);
    }
    put("]");
}

/* {"uid":[R,E,S],"gid":[R,E,S],"groups":[...]} */
static void op_uid(void) {
    put("{");
    put_identity();
    put("}");
}

static int mode_of(const char *path) {
    struct stat status;
    return stat(path, &status) < 0 ? -1 : (int)(status.st_mode & 07777);
}

static int current_umask(void) {
    mode_t mask = umask(0);
    umask(mask);
    return (int)mask;
}

/* The mode bits that a new file of 0666 and a new directory of 0777 get, and those of what is there. */
static void op_umask_files(void) {
    int fd = open("/tmp/umask-file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) close(fd);
    mkdir("/tmp/umask-dir", 0777);
    put("{");
    put_int_member("umask", current_umask());
    put_int_member("file", mode_of("/tmp/umask-file"));
    put_int_member("dir", mode_of("/tmp/umask-dir"));
    put_int_member("tmp", mode_of("/tmp"));
    put_int_member("axocoatl", mode_of("/axocoatl"));
    put_int_member("input", mode_of(INPUT_FILE));
    put("}");
}

/* /proc/self/status as an object of strings; runs of white space become one space. */
static void put_status(void) {
    static char room[SMALL_FILE];
    read_small("/proc/self/status", room, sizeof room);
    put("{");
    for (char *line = strtok(room, "\n"); line; line = strtok(NULL, "\n")) {
        char *colon = strchr(line, ':');
        if (!colon) continue;
        *colon = '\0';
        char *from = colon + 1 + strspn(colon + 1, " \t"), *to = from;
        for (char *at = from; *at; at++)
            if (*at != '\t' || to[-1] != ' ') *to++ = *at == '\t' ? ' ' : *at;
        *to = '\0';
        put_text_member(line, from);
    }
    put("}");
}

/* One line of mountinfo (proc_pid_mountinfo(5)) as an object. */
static void put_mount(char *line) {
    static const char *const NAMES[] = {NULL, NULL, NULL, "root", "mount_point", "options"};
    size_t field = 0, optional = 0;
    char *rest = NULL, *word = strtok_r(line, " ", &rest);
    put("{");
    for (; word && strcmp(word, "-") != 0; word = strtok_r(NULL, " ", &rest), field++) {
        if (field < sizeof NAMES / sizeof *NAMES) {
            if (NAMES[field]) put_text_member(NAMES[field], word);
            continue;
        }
        if (optional++ == 0) {
            key("propagation");
            put("[");
        }
        separate();
        put_json_text(word);
    }
    if (optional > 0) put("]");
    static const char *const LAST[] = {"type", "source", "super_options"};
    for (size_t i = 0; i < 3; i++)
        if ((word = strtok_r(NULL, " ", &rest)) != NULL) put_text_member(LAST[i], word);
    put("}");
}

static char mount_table[256 * 1024];

static void put_mounts(void) {
    read_small("/proc/self/mountinfo", mount_table, sizeof mount_table);
    char *rest = NULL;
    put("[");
    for (char *line = strtok_r(mount_table, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        separate();
        put_mount(line);
    }
    put("]");
}

/* The open descriptors and where each leads, without the one that lists them. */
static void put_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    put("[");
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char path[PATH_SIZE];
        if (is_dots(entry->d_name) || atoi(entry->d_name) == dirfd(dir)) continue;
        separate();
        put("{");
        put_int_member("fd", atoi(entry->d_name));
        put_link_member("link", join(path, "/proc/self/fd", entry->d_name));
        put("}");
    }
    put("]");
    if (dir) closedir(dir);
}

static void put_namespaces(void) {
    static const char *const MORE[] = {"pid_for_children", "time_for_children"};
    char path[PATH_SIZE];
    put("{");
    for (size_t i = 0; i < NAMESPACE_COUNT; i++)
        put_link_member(NAMESPACES[i], join(path, "/proc/self/ns", NAMESPACES[i]));
    for (size_t i = 0; i < sizeof MORE / sizeof *MORE; i++)
        put_link_member(MORE[i], join(path, "/proc/self/ns", MORE[i]));
    put("}");
}

/* The live process, whole. */
static void op_posture(void) {
    char path[PATH_SIZE];
    put("{");
    key("status");
    put_status();
    put_identity();
    put_file_member("uid_map", "/proc/self/uid_map");
    put_file_member("gid_map", "/proc/self/gid_map");
    put_file_member("setgroups", "/proc/self/setgroups");
    key("namespaces");
    put_namespaces();
    key("mounts");
    put_mounts();
    key("fds");
    put_descriptors();
    key("rlimits");
    put_limits();
    key("environ");
    op_env();
    put_text_member("cwd", getcwd(path, sizeof path) ? path : "");
    put_link_member("exe", "/proc/self/exe");
    put_link_member("root", "/proc/self/root");
    put_file_member("cgroup", "/proc/self/cgroup");
    put_host_name();
    put_int_member("umask", current_umask());
    put_file_member("oom_score_adj", "/proc/self/oom_score_adj");
    put_file_member("loginuid", "/proc/self/loginuid");
    put_int_member("pid", getpid());
    put_int_member("ppid", getppid());
    put_int_member("pgid", getpgrp());
    put_int_member("sid", getsid(0));
    put_int_member("tty", try_open("/dev/tty", O_RDWR)); /* without a terminal: ENXIO */
    for (int fd = 0; fd < 3; fd++) {
        static const char *const NAMES[] = {"isatty_0", "isatty_1", "isatty_2"};
        put_bool_member(NAMES[fd], isatty(fd));
    }
    put_int_member("securebits", prctl(PR_GET_SECUREBITS));
    put_int_member("dumpable", prctl(PR_GET_DUMPABLE));
    put("}");
}
