/* word-count: {"text": string, "top": 1..1000} on standard input, counts on standard output. */
#include <stdio.h>
#include <stdlib.h>

#include "words.h"

/* The largest input document. All its words may differ: the table then takes some 160 MiB. */
#define MAX_INPUT ((size_t)16 * 1024 * 1024)
#define FIRST_INPUT ((size_t)64 * 1024)

#define DEFAULT_TOP 10
#define MAX_TOP 1000

#ifdef __wasi__
/* An engine may wrap the module into a component with the preview 1 adapter, which takes its memory
 * from here. Without this it grows the memory itself, and an old wasi-libc then hands that very
 * memory out as the heap (WebAssembly/wasi-libc#377). */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size,
                                                                size_t align, size_t size) {
    return (void)old_size, (void)align, realloc(old, size);
}
#endif

static _Noreturn void fail(const char *message) {
    fputs("word-count: ", stderr);
    fputs(message, stderr);
    fputc('\n', stderr);
    exit(1);
}

static struct slice read_input(void) {
    struct slice input = {NULL, 0};
    size_t size = FIRST_INPUT;
    do {
        if (input.length == size) size *= 2;
        if (size > MAX_INPUT) fail("the input is larger than 16 MiB");
        input.at = realloc(input.at, size);
        if (!input.at) fail("out of memory");
        input.length += fread(input.at + input.length, 1, size - input.length, stdin);
    } while (input.length == size);
    if (ferror(stdin)) fail("cannot read standard input");
    return input;
}

struct request {
    struct slice text;
    uint32_t top;
};

static struct request read_request(struct slice input) {
    struct request request = {{NULL, 0}, DEFAULT_TOP};
    struct json json = json_reader(input.at, input.length);
    struct slice key;
    bool first = true;
    json_open_object(&json);
    while (json_next_key(&json, &first, &key)) {
        if (slice_is(key, "text")) json_string(&json, &request.text);
        else if (slice_is(key, "top")) json_whole_number(&json, &request.top);
        else fail("a key other than `text` and `top`");
    }
    if (!json_finish(&json)) fail(json.error);
    if (!request.text.at) fail("`text` is missing");
    if (request.top < 1 || request.top > MAX_TOP) fail("`top` is not in 1..1000");
    return request;
}

static void write_field(const char *start, uint64_t number) {
    fputs(start, stdout);
    json_write_number(number);
}

int main(void) {
    struct request request = read_request(read_input());
    struct words words;
    if (!words_count(&words, request.text)) fail("out of memory");
    size_t length = request.top;
    struct word *top = words_top(&words, &length);
    if (!top) fail("out of memory");

    write_field("{\"words\":", words.total);
    write_field(",\"distinct\":", words.distinct);
    write_field(",\"lines\":", words.lines);
    write_field(",\"characters\":", words.characters);
    fputs(",\"top\":[", stdout);
    for (size_t i = 0; i < length; i++) {
        fputs(i == 0 ? "{\"word\":" : ",{\"word\":", stdout);
        json_write_string(top[i].text);
        write_field(",\"count\":", top[i].count);
        putchar('}');
    }
    fputs("]}\n", stdout);
    if (fflush(stdout) != 0) fail("cannot write standard output");
    return 0;
}
