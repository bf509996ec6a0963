/*
 * A pull reader for JSON documents held in memory, and a writer of JSON strings.
 *
 * Reading is a sequence of calls that mirrors the document. The first thing that does not fit sets
 * `error`, and from then on every call returns false: callers check once, at the end. Strings are
 * decoded where they stand, so the document's bytes change as it is read.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UTF-8; not ended by a zero byte, and may hold some. */
struct slice {
    unsigned char *at;
    size_t length;
};

struct json {
    unsigned char *start, *at, *end;
    const char *error; /* what is wrong with the document, or NULL */
};

struct json json_reader(unsigned char *document, size_t length);

/* The document, or the value of a key, has to be an object. */
bool json_open_object(struct json *json);

/* The next key of the open object; false after the last one. `first` starts true. */
bool json_next_key(struct json *json, bool *first, struct slice *key);

bool json_string(struct json *json, struct slice *value);

/* A whole number from 0 to UINT32_MAX. `10` and `10.0` are the same number. */
bool json_whole_number(struct json *json, uint32_t *value);

/* Nothing but white space may follow. True when the whole document was as expected. */
bool json_finish(struct json *json);

bool slice_is(struct slice slice, const char *text);

/* Writes `text` to standard output as a JSON string. */
void json_write_string(struct slice text);

/* Writes `number` to standard output. */
void json_write_number(uint64_t number);

#endif
