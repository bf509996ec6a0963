/*
 * The probe: a tool that does on command what a hostile, broken or curious tool might do.
 *
 * Input on standard input: {"op":"NAME", ...scalar arguments...}. An op writes one JSON object to
 * standard output unless it says otherwise. An op that is unknown or lacks an argument: exit 64.
 *
 * One source, two programs (see build.sh): a WASI preview 1 module and a static Linux program, which
 * has the ops of native/ as well: what a hostile program does to the kernel it runs on. The `errno`
 * numbers differ between the two; the `error` texts beside them mostly do not. Where a
 * result holds an errno, 0 means that the thing succeeded.
 *
 * Nothing here uses stdio's streams: unbuffered reads and one output buffer keep the module small and leave
 * no copy of the input on the heap, which `residue` relies on.
 */
#define _GNU_SOURCE
#ifdef __wasi__
#define _Thread_local /* one thread; clang 14 cannot combine -mbulk-memory with the real one */
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* rename */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef __wasi__
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/un.h>
#endif

#define INPUT_FILE "/axocoatl/input.json"
#define OUTPUT_FILE "/axocoatl/output.json"
#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define PAGE (4 * KIB)
#define PATH_SIZE (4 * KIB)
#define EXIT_IO 74
#define EXIT_USAGE 64

extern char **environ;

#ifdef __wasi__
/* An engine may wrap the module into a component with the preview 1 adapter, which takes its memory
 * from here. Without this it grows the memory itself, and an old wasi-libc then hands that very
 * memory out as the heap (WebAssembly/wasi-libc#377). */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size,
                                                                size_t align, size_t size) {
    return (void)old_size, (void)align, realloc(old, size);
}
#endif

static int argument_count;
static char **argument_values;

/* Keeps the optimiser from dropping stores to `at`, which nobody reads. */
static void keep(void *at) { __asm__ volatile("" : : "r"(at) : "memory"); }

/* ---- output ---------------------------------------------------------------------------------- */

static struct {
    char bytes[8 * 1024];
    size_t length;
} out;

/* Writes all of it. Returns 0 or an errno; `*written` gets how far it came, unless it is NULL. */
static int write_all(int fd, const void *from, size_t length, uint64_t *written) {
    const char *at = from;
    while (length > 0) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        at += n;
        length -= (size_t)n;
        if (written) *written += (uint64_t)n;
    }
    return 0;
}

static void flush(void) {
    size_t length = out.length;
    out.length = 0;
    if (write_all(STDOUT_FILENO, out.bytes, length, NULL) != 0) _exit(EXIT_IO);
}

static void put_bytes(const char *from, size_t length) {
    while (length > 0) {
        if (out.length == sizeof out.bytes) flush();
        size_t room = sizeof out.bytes - out.length;
        size_t part = length < room ? length : room;
        memcpy(out.bytes + out.length, from, part);
        out.length += part;
        from += part;
        length -= part;
    }
}

static void put(const char *text) { put_bytes(text, strlen(text)); }

/* Decimal digits of `number` at the end of `room`; returns their start. */
static char *digits(uint64_t number, char room[24]) {
    char *at = room + 23;
    *at = '\0';
    do *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return at;
}

static void put_int(int64_t number) {
    char room[24];
    if (number < 0) put("-");
    put(digits(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, room));
}

static void put_hex(unsigned char byte) {
    static const char HEX[] = "0123456789abcdef";
    put_bytes(&HEX[byte >> 4], 1);
    put_bytes(&HEX[byte & 15], 1);
}

/* A JSON string. Bytes above 0x7f go through as they are: the probe's texts are UTF-8. */
static void put_json(const char *text, size_t length) {
    put("\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20) {
            put("\\u00");
            put_hex(c);
        } else {
            if (c == '"' || c == '\\') put("\\");
            put_bytes(text + i, 1);
        }
    }
    put("\"");
}

static void put_json_text(const char *text) { put_json(text, strlen(text)); }

/* `"errno":E`, with the text of it when it is an error. */
static void put_errno(int error) {
    put("\"errno\":");
    put_int(error);
    if (error != 0) {
        put(",\"error\":");
        put_json_text(strerror(error));
    }
}

static void put_errno_object(int error) {
    put("{");
    put_errno(error);
    put("}");
}

/* `{"KEY":COUNT,"errno":E}` */
static void put_count_object(const char *key, uint64_t count, int error) {
    put("{\"");
    put(key);
    put("\":");
    put_int((int64_t)count);
    put(",");
    put_errno(error);
    put("}");
}

static _Noreturn void usage(const char *message, const char *about) {
    write_all(STDERR_FILENO, "probe: ", 7, NULL);
    write_all(STDERR_FILENO, message, strlen(message), NULL);
    write_all(STDERR_FILENO, about, strlen(about), NULL);
    write_all(STDERR_FILENO, "\n", 1, NULL);
    _exit(EXIT_USAGE);
}

/* ---- input and its arguments ------------------------------------------------------------------
 * The scanner reads a flat object of strings, numbers and literals. The input is ours and well
 * formed; the scanner only stays inside it.
 */

struct text {
    char *at;
    size_t length;
};

static struct text input;
static char input_room[64 * 1024]; /* larger inputs move to the heap */

/* Reads `fd` to its end, into `room` while that is enough. A zero byte follows the end. */
static struct text read_to_end(int fd, char *room, size_t size) {
    struct text all = {room, 0};
    for (;;) {
        if (all.length + 1 >= size) {
            char *larger = malloc(size * 2);
            if (!larger) usage("no memory for the input", "");
            memcpy(larger, all.at, all.length);
            if (all.at != room) free(all.at);
            all.at = larger;
            size *= 2;
        }
        ssize_t n = read(fd, all.at + all.length, size - all.length - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        all.length += (size_t)n;
    }
    all.at[all.length] = '\0';
    return all;
}

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

/* `at` stands on an opening quote; returns what follows the closing one. */
static const char *skip_string(const char *at) {
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

/* The value of the argument `key`, or NULL. */
static const char *find(const char *key) {
    size_t length = strlen(key);
    const char *at = skip_space(input.at);
    if (*at != '{') return NULL;
    at = skip_space(at + 1);
    while (*at == '"') {
        const char *name = at + 1;
        at = skip_string(at);
        bool same = (size_t)(at - name) == length + 1 && memcmp(name, key, length) == 0;
        at = skip_space(at);
        if (*at == ':') at = skip_space(at + 1);
        if (same) return at;
        at = *at == '"' ? skip_string(at) : at + strcspn(at, ",}");
        at = skip_space(at);
        if (*at == ',') at = skip_space(at + 1);
    }
    return NULL;
}

static unsigned hex4(const char *at) {
    unsigned value = 0;
    for (int i = 0; i < 4 && at[i]; i++) {
        unsigned c = (unsigned char)at[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* Decodes the string argument `key` into `room`, each byte combined with `mask` by exclusive or.
 * Returns its length; an absent argument gives `fallback` (NULL: it is required). */
static size_t string_masked(const char *key, char *room, size_t size, char mask, const char *fallback) {
    const char *at = find(key);
    size_t length = 0;
    if (!at || *at != '"') {
        if (!fallback) usage("needs the string ", key);
        for (; *fallback && length + 1 < size; fallback++) room[length++] = *fallback ^ mask;
        room[length] = '\0';
        return length;
    }
    for (at++; *at && *at != '"'; at++) {
        if (length + 5 > size) usage("too long: ", key);
        if (*at != '\\') {
            room[length++] = *at ^ mask;
            continue;
        }
        static const char NAMES[] = "nrtbf", VALUES[] = "\n\r\t\b\f";
        const char *name = strchr(NAMES, *++at);
        if (!*at) break;
        if (*at != 'u') {
            room[length++] = (name ? VALUES[name - NAMES] : *at) ^ mask;
            continue;
        }
        unsigned code = hex4(at + 1);
        at += strnlen(at, 5) - 1;
        if (code >= 0xd800 && code < 0xdc00 && at[1] == '\\' && at[2] == 'u') {
            code = 0x10000 + ((code - 0xd800) << 10) + (hex4(at + 3) - 0xdc00);
            at += strnlen(at, 7) - 1;
        }
        if (code < 0x80) {
            room[length++] = (char)code ^ mask;
        } else {
            int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
            static const unsigned char LEAD[] = {0, 0xc0, 0xe0, 0xf0};
            room[length++] = (char)(LEAD[more] | (code >> (6 * more))) ^ mask;
            while (more-- > 0) room[length++] = (char)(0x80 | ((code >> (6 * more)) & 0x3f)) ^ mask;
        }
    }
    room[length] = '\0';
    return length;
}

static char text_room[64 * 1024]; /* the argument "text" */

static const char *string(const char *key, char *room, size_t size, const char *fallback) {
    string_masked(key, room, size, 0, fallback);
    return room;
}

static const char *path_argument(const char *key) {
    static char rooms[2][PATH_SIZE];
    static int next;
    char *room = rooms[next++ % 2];
    return string(key, room, PATH_SIZE, NULL);
}

static int64_t number_or(const char *key, int64_t fallback) {
    const char *at = find(key);
    return at ? (int64_t)strtoll(at, NULL, 10) : fallback;
}

static uint64_t number(const char *key) {
    if (!find(key)) usage("needs the number ", key);
    return (uint64_t)number_or(key, 0);
}

/* ---- ops: the tool contract ------------------------------------------------------------------- */

/* Writes the input document back, byte for byte. */
static void op_echo(void) { put_bytes(input.at, input.length); }

static void op_text(void) { put("plain text, not JSON\n"); }

/* {"code":N}: some output, then that exit status. */
static void op_exit(void) {
    int code = (int)number("code");
    put("{\"partial\":true}");
    flush();
    _exit(code);
}

/* {"text":T}: T to standard error. */
static void op_stderr(void) {
    const char *text = string("text", text_room, sizeof text_room, NULL);
    write_all(STDERR_FILENO, text, strlen(text), NULL);
    put("{\"ok\":true}");
}

static int create(const char *path) { return open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644); }

static void op_output_file(void) {
    static const char DOCUMENT[] = "{\"from\":\"file\"}";
    int fd = create(OUTPUT_FILE);
    int error = fd < 0 ? errno : write_all(fd, DOCUMENT, sizeof DOCUMENT - 1, NULL);
    if (error != 0) put_errno_object(error);
    else put("{\"from\":\"stdout\"}");
}

/* Writes `bytes` times 'x'. */
static int write_filler(int fd, uint64_t bytes, uint64_t *written) {
    static char block[64 * 1024];
    memset(block, 'x', sizeof block);
    int error = 0;
    while (bytes > 0 && error == 0) {
        size_t part = bytes < sizeof block ? (size_t)bytes : sizeof block;
        error = write_all(fd, block, part, written);
        bytes -= part;
    }
    return error;
}

/* {"bytes":N}: a JSON string of N characters becomes the output file. */
static void op_output_file_big(void) {
    uint64_t written = 0;
    int fd = create(OUTPUT_FILE);
    int error = fd < 0 ? errno : write_all(fd, "\"", 1, NULL);
    if (error == 0) error = write_filler(fd, number("bytes"), &written);
    if (error == 0) error = write_all(fd, "\"", 1, NULL);
    put_count_object("written", written, error);
}

/* {"target":P}: the output file is a symbolic link to P. */
static void op_output_symlink(void) {
    put_errno_object(symlink(path_argument("target"), OUTPUT_FILE) < 0 ? errno : 0);
}

static void op_output_dir(void) { put_errno_object(mkdir(OUTPUT_FILE, 0755) < 0 ? errno : 0); }

/* The content of the input file, byte for byte. */
static void op_input_file(void) {
    int fd = open(INPUT_FILE, O_RDONLY);
    if (fd < 0) {
        put_errno_object(errno);
        return;
    }
    static char room[64 * 1024];
    struct text content = read_to_end(fd, room, sizeof room);
    put_bytes(content.at, content.length);
}

/* Tries to change, remove and replace the input file. */
static void op_write_input_file(void) {
    static const char OTHER[] = "/axocoatl/replacement";
    put("{\"open\":");
    put_int(open(INPUT_FILE, O_WRONLY | O_TRUNC) < 0 ? errno : 0);
    put(",\"unlink\":");
    put_int(unlink(INPUT_FILE) < 0 ? errno : 0);
    put(",\"rename\":");
    put_int(create(OTHER) < 0 || rename(OTHER, INPUT_FILE) < 0 ? errno : 0);
    put("}");
}

static void op_env(void) {
    put("{");
    for (char **entry = environ; entry && *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (!equals) continue;
        if (entry != environ) put(",");
        put_json(*entry, (size_t)(equals - *entry));
        put(":");
        put_json_text(equals + 1);
    }
    put("}");
}

/* An array: the program's name, then its arguments. */
static void op_args(void) {
    put("[");
    for (int i = 0; i < argument_count; i++) {
        if (i > 0) put(",");
        put_json_text(argument_values[i]);
    }
    put("]");
}

/* ---- ops: time and processor ------------------------------------------------------------------ */

static void op_spin(void) {
    for (volatile unsigned turns = 0;; turns++) {
    }
}

/* {"seconds":N} and/or {"ms":N}: one wait of that length, after the text "log" on standard error. */
static void op_sleep(void) {
    const char *text = string("log", text_room, sizeof text_room, "");
    write_all(STDERR_FILENO, text, strlen(text), NULL);
    int64_t ms = number_or("ms", 0);
    struct timespec wait = {
        .tv_sec = (time_t)(number_or("seconds", 0) + ms / 1000),
        .tv_nsec = (long)(ms % 1000) * 1000000,
    };
    put_errno_object(nanosleep(&wait, NULL) < 0 ? errno : 0);
}

static int64_t milliseconds(clockid_t clock) {
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void op_time(void) {
    put("{\"wall_ms\":");
    put_int(milliseconds(CLOCK_REALTIME));
    put(",\"monotonic_ms\":");
    put_int(milliseconds(CLOCK_MONOTONIC));
    put("}");
}

static void op_random(void) {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes) < 0) {
        put_errno_object(errno);
        return;
    }
    put("{\"hex\":\"");
    for (size_t i = 0; i < sizeof bytes; i++) put_hex(bytes[i]);
    put("\"}");
}

static void op_trap(void) { __builtin_trap(); }

/* Called through a volatile pointer, so that it stays a call; it needs no memory of its own, so a
 * WebAssembly engine meets it as call depth and Linux as stack size. */
static unsigned deeper(unsigned depth);
static unsigned (*volatile next_depth)(unsigned) = deeper;
static unsigned deeper(unsigned depth) { return next_depth(depth + 1) ^ depth; }

static void op_recurse(void) { put_int(next_depth(0)); }

/* One long instruction, again and again: with bulk memory, `memory.fill` of 16 MiB. */
static void op_fill(void) {
    char *block = malloc(16 * MIB);
    if (!block) usage("no memory for the block", "");
    for (int value = 0;; value++) {
        memset(block, value, 16 * MIB);
        keep(block);
    }
}

/* ---- ops: memory and output ------------------------------------------------------------------- */

/* {"bytes":N}: N bytes in chunks of 1 MiB, every page touched. */
static void op_alloc(void) {
    uint64_t wanted = number("bytes"), allocated = 0;
    bool failed = false;
    while (allocated < wanted && !failed) {
        size_t part = wanted - allocated < MIB ? (size_t)(wanted - allocated) : MIB;
        volatile char *chunk = malloc(part);
        failed = chunk == NULL;
        if (failed) break;
        for (size_t at = 0; at < part; at += PAGE) chunk[at] = 1;
        allocated += part;
    }
    put("{\"allocated\":");
    put_int((int64_t)allocated);
    put(failed ? ",\"failed\":true}" : "}");
}

/* {"stream":"stdout"|"stderr"}: writes of 4 KiB without end. */
static void op_flood(void) {
    char stream[16];
    string("stream", stream, sizeof stream, NULL);
    int fd = strcmp(stream, "stderr") == 0 ? STDERR_FILENO : STDOUT_FILENO;
    static char block[4 * 1024];
    memset(block, 'x', sizeof block);
    while (write_all(fd, block, sizeof block, NULL) == 0) {
    }
    _exit(EXIT_IO);
}

/* ---- ops: files ------------------------------------------------------------------------------- */

/* {"path":P}: opens P for reading until it fails, at most 100 000 times. */
static void op_open_many(void) {
    const char *path = path_argument("path");
    uint64_t opened = 0;
    while (opened < 100000 && open(path, O_RDONLY) >= 0) opened++;
    put_count_object("opened", opened, opened < 100000 ? errno : 0);
}

static int write_new(const char *path, uint64_t bytes, uint64_t *written) {
    int fd = create(path);
    if (fd < 0) return errno;
    int error = write_filler(fd, bytes, written);
    if (close(fd) < 0 && error == 0) error = errno;
    return error;
}

/* {"path":P,"bytes":N} */
static void op_write_bytes(void) {
    uint64_t written = 0;
    int error = write_new(path_argument("path"), number("bytes"), &written);
    put_count_object("written", written, error);
}

/* {"path":P,"bytes":N,"times":M}: the same file M times from empty; the result is the sum. */
static void op_rewrite(void) {
    const char *path = path_argument("path");
    uint64_t bytes = number("bytes"), times = number("times"), written = 0;
    int error = 0;
    while (times-- > 0 && error == 0) error = write_new(path, bytes, &written);
    put_count_object("written", written, error);
}

/* {"dir":D,"count":N}: N empty files. */
static void op_make_files(void) {
    const char *dir = path_argument("dir");
    uint64_t count = number("count"), made = 0;
    static char path[PATH_SIZE + 32];
    char room[24];
    int error = 0;
    while (made < count && error == 0) {
        strcpy(path, dir);
        strcat(path, "/probe-");
        strcat(path, digits(made, room));
        int fd = create(path);
        if (fd < 0) {
            error = errno;
        } else {
            close(fd);
            made++;
        }
    }
    put_count_object("made", made, error);
}

/* {"path":P,"bytes":N}: a file of that length without content. */
static void op_sparse(void) {
    int fd = create(path_argument("path"));
    put_errno_object(fd < 0 || ftruncate(fd, (off_t)number("bytes")) < 0 ? errno : 0);
}

/* {"path":P} gives {"text":T} */
static void op_read(void) {
    int fd = open(path_argument("path"), O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0) {
        put_errno_object(errno);
        return;
    }
    if (S_ISDIR(info.st_mode)) { /* a directory opens, and does not read */
        put_errno_object(EISDIR);
        return;
    }
    struct text content = read_to_end(fd, text_room, sizeof text_room);
    put("{\"text\":");
    put_json(content.at, content.length);
    put("}");
}

/* {"path":P,"text":T} */
static void op_write(void) {
    const char *text = string("text", text_room, sizeof text_room, NULL);
    int fd = create(path_argument("path"));
    put_errno_object(fd < 0 ? errno : write_all(fd, text, strlen(text), NULL));
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* {"path":P} gives {"entries":[NAME...]}, sorted */
static void op_list(void) {
    DIR *dir = opendir(path_argument("path"));
    if (!dir) {
        put_errno_object(errno);
        return;
    }
    char **names = NULL;
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (is_dots(entry->d_name)) continue;
        if (count % 256 == 0) names = realloc(names, (count + 256) * sizeof *names);
        if (!names || !(names[count++] = strdup(entry->d_name))) usage("no memory for the list", "");
    }
    if (count > 0) qsort(names, count, sizeof *names, compare_names);
    put("{\"entries\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) put(",");
        put_json_text(names[i]);
    }
    put("]}");
}

static void op_unlink(void) { put_errno_object(unlink(path_argument("path")) < 0 ? errno : 0); }

/* {"target":P,"path":P} */
static void op_symlink(void) {
    const char *target = path_argument("target"), *path = path_argument("path");
    put_errno_object(symlink(target, path) < 0 ? errno : 0);
}

/* ---- ops: what lies around -------------------------------------------------------------------- */

/* F_GETFL, not F_GETFD: the C library for WASI answers F_GETFD for any number. */
static void op_fds(void) {
    bool first = true;
    put("{\"fds\":[");
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFL) < 0) continue;
        if (!first) put(",");
        first = false;
        put_int(fd);
    }
    put("]}");
}

#define NEEDLE_MASK 0x5a
static struct {
    char masked[256]; /* so that the program's own copy is no finding */
    size_t length;
} needle;

static char zeroed[1024 * 1024];
static const char *const PLACES[] = {"/tmp", "/axocoatl", "/dev/shm"};

static bool has_needle(const char *at, size_t length) {
    for (size_t i = 0; i + needle.length <= length; i++) {
        size_t same = 0;
        while (same < needle.length && (at[i + same] ^ NEEDLE_MASK) == needle.masked[same]) same++;
        if (same == needle.length) return true;
    }
    return false;
}

static void plant(char *at, size_t length) {
    for (size_t i = 0; i < length; i++) at[i] = needle.masked[i % needle.length] ^ NEEDLE_MASK;
    keep(at);
}

/* The first file under `directory` that holds the needle in its first MiB, in `found`. */
static bool search_files(const char *directory, int depth, char found[PATH_SIZE]) {
    DIR *dir = depth > 0 ? opendir(directory) : NULL;
    bool hit = false;
    for (struct dirent *entry; dir && !hit && (entry = readdir(dir)) != NULL;) {
        char path[PATH_SIZE];
        struct stat status;
        if (is_dots(entry->d_name) || strlen(directory) + strlen(entry->d_name) + 2 > sizeof path)
            continue;
        strcpy(path, directory);
        strcat(path, "/");
        strcat(path, entry->d_name);
        if (strcmp(path, INPUT_FILE) == 0 || lstat(path, &status) < 0) continue;
        if (S_ISDIR(status.st_mode)) {
            hit = search_files(path, depth - 1, found);
        } else if (S_ISREG(status.st_mode)) {
            int fd = open(path, O_RDONLY);
            ssize_t n = fd < 0 ? -1 : read(fd, zeroed, sizeof zeroed);
            hit = n > 0 && has_needle(zeroed, (size_t)n);
            if (fd >= 0) close(fd);
            if (hit) strcpy(found, path);
        }
    }
    if (dir) closedir(dir);
    return hit;
}

/* {"canary":T}: is T left over from an earlier call, in fresh memory or in files? Then leaves it
 * there for the next one. {"found":false}, or {"found":true,"where":PLACE}. */
static void op_residue(void) {
    needle.length = string_masked("canary", needle.masked, sizeof needle.masked, NEEDLE_MASK, NULL);
    if (needle.length == 0) usage("needs a longer ", "canary");
    size_t places = sizeof PLACES / sizeof *PLACES;
    static char path[PATH_SIZE];
    const char *where = NULL;

    char *fresh = malloc(8 * MIB);
    if (fresh && has_needle(fresh, 8 * MIB)) where = "heap";
    if (has_needle(zeroed, sizeof zeroed)) where = "static";
    /* Files come last: they are read into `zeroed`. */
    for (size_t i = 0; i < places && !where; i++)
        if (search_files(PLACES[i], 4, path)) where = path;

    put(where ? "{\"found\":true,\"where\":" : "{\"found\":false");
    if (where) put_json_text(where);
    put("}");

    plant(zeroed, sizeof zeroed);
    if (fresh) plant(fresh, 8 * MIB);
    for (size_t i = 0; i < places; i++) {
        strcpy(path, PLACES[i]);
        strcat(path, "/probe-residue");
        int fd = create(path);
        if (fd >= 0) write_all(fd, zeroed, needle.length, NULL);
    }
}

#ifdef __wasi__
static int connect_tcp(uint16_t port) { return (void)port, -1; }
static int connect_unix(const char *path) { return (void)path, -1; }
static int connect_vsock(uint32_t port) { return (void)port, -1; }
#else
static int try_connect(int family, const void *address, socklen_t length) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    int error = connect(fd, address, length) < 0 ? errno : 0;
    close(fd);
    return error;
}

static int connect_tcp(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return try_connect(AF_INET, &address, sizeof address);
}

static int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (*path == '\0') return -1;
    if (strlen(path) >= sizeof address.sun_path) return ENAMETOOLONG;
    strcpy(address.sun_path, path);
    return try_connect(AF_UNIX, &address, sizeof address);
}

static int connect_vsock(uint32_t port) {
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    return try_connect(AF_VSOCK, &address, sizeof address);
}
#endif

/* {"port":N,"unix":P}: an errno each for TCP to loopback, the Unix socket P (-1 without one) and
 * vsock to the host. All -1 on WASI preview 1, which has no such calls. */
static void op_connect(void) {
    uint64_t port = number("port");
    static char path[PATH_SIZE];
    string("unix", path, sizeof path, "");
    put("{\"tcp\":");
    put_int(connect_tcp((uint16_t)port));
    put(",\"unix\":");
    put_int(connect_unix(path));
    put(",\"vsock\":");
    put_int(connect_vsock((uint32_t)port));
    put("}");
}

#ifdef __wasi__
static void run_native(const char *name) { (void)name; }
static bool unread_input(void) { return false; }
#else
#include "native/native.c"
#endif

/* ---- dispatch --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} OPS[] = {
    {"echo", op_echo},
    {"text", op_text},
    {"exit", op_exit},
    {"stderr", op_stderr},
    {"output_file", op_output_file},
    {"output_file_big", op_output_file_big},
    {"output_symlink", op_output_symlink},
    {"output_dir", op_output_dir},
    {"input_file", op_input_file},
    {"write_input_file", op_write_input_file},
    {"env", op_env},
    {"args", op_args},
    {"spin", op_spin},
    {"sleep", op_sleep},
    {"time", op_time},
    {"random", op_random},
    {"trap", op_trap},
    {"recurse", op_recurse},
    {"fill", op_fill},
    {"alloc", op_alloc},
    {"flood", op_flood},
    {"open_many", op_open_many},
    {"write_bytes", op_write_bytes},
    {"rewrite", op_rewrite},
    {"make_files", op_make_files},
    {"sparse", op_sparse},
    {"read", op_read},
    {"write", op_write},
    {"list", op_list},
    {"unlink", op_unlink},
    {"symlink", op_symlink},
    {"fds", op_fds},
    {"residue", op_residue},
    {"connect", op_connect},
};

int main(int argc, char **argv) {
    argument_count = argc;
    argument_values = argv;
    if (unread_input()) run_native("stdin_partial");
    input = read_to_end(STDIN_FILENO, input_room, sizeof input_room);
    char name[64];
    string("op", name, sizeof name, NULL);
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++) {
        if (strcmp(OPS[i].name, name) == 0) {
            OPS[i].run();
            flush();
            return 0;
        }
    }
    run_native(name);
    usage("unknown op ", name);
}
