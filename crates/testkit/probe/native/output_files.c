/* Ops that make the output file something else, and fill what can be written: threats 3, 4 and 28. */

static void op_output_fifo(void) { put_errno_object(error_of(mkfifo(OUTPUT_FILE, 0644))); }

/* {"target":P}: the output file is a hard link to P. */
static void op_output_hardlink(void) {
    put_errno_object(error_of(link(path_argument("target"), OUTPUT_FILE)));
}

/* {"bytes":N}: the output file is that long and holds nothing. */
static void op_output_sparse(void) {
    int fd = create(OUTPUT_FILE);
    put_errno_object(fd < 0 ? errno : error_of(ftruncate(fd, (off_t)number("bytes"))));
}

/* The zero device: a reader would never come to its end. */
static void op_output_device(void) {
    put_errno_object(error_of(mknod(OUTPUT_FILE, S_IFCHR | 0644, makedev(1, 5))));
}

static void op_output_socket(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = OUTPUT_FILE};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    put_errno_object(fd < 0 ? errno : error_of(bind(fd, (struct sockaddr *)&address, sizeof address)));
}

static int mount_over(const void *with) {
    const unsigned long *flags = with;
    return error_of(mount("/tmp", "/axocoatl", "tmpfs", *flags, NULL));
}

/* Tries to put another directory in the place of /axocoatl: an errno each. */
static void op_output_replace_dir(void) {
    static const unsigned long NEW = 0, BIND = MS_BIND, MOVE = MS_MOVE;
    mkdir("/tmp/replacement", 0777);
    put("{");
    put_int_member("rename_away", error_of(rename("/axocoatl", "/tmp/away")));
    put_int_member("rename_beside", error_of(rename("/axocoatl", "/axocoatl-away")));
    put_int_member("exchange",
                   error_of(syscall(SYS_renameat2, AT_FDCWD, "/axocoatl", AT_FDCWD, "/tmp/replacement",
                                    2 /* RENAME_EXCHANGE */)));
    put_int_member("rmdir", error_of(rmdir("/axocoatl")));
    put_int_member("symlink", error_of(symlink("/tmp/replacement", "/axocoatl")));
    put_int_member("mount", in_child(mount_over, &NEW));
    put_int_member("bind", in_child(mount_over, &BIND));
    put_int_member("move", in_child(mount_over, &MOVE));
    put("}");
}

/* Turns the output file from a file to a link and back, by renaming, for `LIFETIME_SECONDS`. */
static void flip(const char *target) {
    int64_t end = milliseconds(CLOCK_MONOTONIC) + LIFETIME_SECONDS * 1000;
    while (milliseconds(CLOCK_MONOTONIC) < end) {
        int fd = create("/axocoatl/flip-file");
        if (fd >= 0) {
            write_all(fd, "{\"from\":\"file\"}", 15, NULL);
            close(fd);
        }
        rename("/axocoatl/flip-file", OUTPUT_FILE);
        if (symlink(target, "/axocoatl/flip-link") == 0) rename("/axocoatl/flip-link", OUTPUT_FILE);
    }
    _exit(0);
}

/* {"target":P,"ms":N}: ends after N ms while a child still flips the output file between a link to P
 * and a file. */
static void op_output_flip(void) {
    const char *target = path_argument("target");
    pid_t child = fork();
    if (child == 0) flip(target);
    pause_for(number_or("ms", 20));
    put_errno_object(error_of(child));
}

/* ---- filling ---------------------------------------------------------------------------------- */

/* {"bytes":N}: at most N bytes into one file of each directory, all kept until the end: for each
 * {"written":W,"errno":E}. */
static void op_fill_disk(void) {
    uint64_t bytes = number("bytes");
    char path[PATH_SIZE];
    put("{");
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
        uint64_t written = 0;
        int error = write_new(join(path, DIRECTORIES[i], "probe-fill"), bytes, &written);
        key(DIRECTORIES[i]);
        put_count_object("written", written, error);
    }
    put("}");
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) unlink(join(path, DIRECTORIES[i], "probe-fill"));
}

/* {"dir":D,"count":N}: empty files until that fails, then one of each other kind: an errno each. */
static void op_fill_inodes(void) {
    const char *dir = path_argument("dir");
    uint64_t count = number("count"), made = 0;
    char path[PATH_SIZE], name[32], first[PATH_SIZE];
    int error = 0;
    join(first, dir, "inode-0");
    while (made < count && error == 0) {
        snprintf(name, sizeof name, "inode-%llu", (unsigned long long)made);
        int fd = create(join(path, dir, name));
        error = error_of(fd);
        if (fd >= 0) close(fd), made++;
    }
    put("{");
    put_int_member("made", (int64_t)made);
    separate();
    put_errno(error);
    put_int_member("mkdir", error_of(mkdir(join(path, dir, "inode-dir"), 0755)));
    put_int_member("symlink", error_of(symlink("x", join(path, dir, "inode-link"))));
    put_int_member("link", error_of(link(first, join(path, dir, "inode-hard"))));
    put_int_member("mkfifo", error_of(mkfifo(join(path, dir, "inode-fifo"), 0644)));
    put("}");
}
