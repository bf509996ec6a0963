#include "json.h"

#include <stdio.h>
#include <string.h>

struct json json_reader(unsigned char *document, size_t length) {
    return (struct json){document, document, document + length, NULL};
}

static bool fail(struct json *json, const char *error) {
    if (!json->error) json->error = error;
    return false;
}

/* The next byte, or -1 at the end of the document. */
static int peek(const struct json *json) { return json->at < json->end ? *json->at : -1; }

static void skip_space(struct json *json) {
    for (;;) {
        int c = peek(json);
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
        json->at++;
    }
}

/* Takes `wanted` and the white space around it. */
static bool take(struct json *json, int wanted, const char *error) {
    if (json->error) return false;
    skip_space(json);
    if (peek(json) != wanted) return fail(json, error);
    json->at++;
    skip_space(json);
    return true;
}

bool json_open_object(struct json *json) { return take(json, '{', "expected an object"); }

bool json_next_key(struct json *json, bool *first, struct slice *key) {
    if (json->error) return false;
    skip_space(json);
    if (peek(json) == '}') {
        json->at++;
        return false;
    }
    if (!*first && !take(json, ',', "expected `,` or `}`")) return false;
    *first = false;
    return json_string(json, key) && take(json, ':', "expected `:`");
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(struct json *json) {
    if (json->end - json->at < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int c = *json->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* What follows `\u`: a code point, whether in one escape or in a surrogate pair. -1 if it is none. */
static int32_t code_point(struct json *json) {
    int32_t high = hex4(json);
    if (high < 0xd800 || high > 0xdfff) return high;
    if (high > 0xdbff || json->end - json->at < 2) return -1;
    if (*json->at++ != '\\' || *json->at++ != 'u') return -1;
    int32_t low = hex4(json);
    if (low < 0xdc00 || low > 0xdfff) return -1;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static unsigned char *encode_utf8(unsigned char *to, int32_t code) {
    if (code < 0x80) {
        *to++ = (unsigned char)code;
    } else if (code < 0x800) {
        *to++ = (unsigned char)(0xc0 | (code >> 6));
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (unsigned char)(0xe0 | (code >> 12));
        *to++ = (unsigned char)(0x80 | ((code >> 6) & 0x3f));
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (unsigned char)(0xf0 | (code >> 18));
        *to++ = (unsigned char)(0x80 | ((code >> 12) & 0x3f));
        *to++ = (unsigned char)(0x80 | ((code >> 6) & 0x3f));
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* Decodes what follows a backslash to `*to`. An escape is never shorter than what it stands for. */
static bool escape(struct json *json, unsigned char **to) {
    static const char NAMES[] = "\"\\/bfnrt";
    static const char VALUES[] = "\"\\/\b\f\n\r\t";
    int c = peek(json);
    if (c < 0) return fail(json, "the string has no end");
    json->at++;
    if (c == 'u') {
        int32_t code = code_point(json);
        if (code < 0) return fail(json, "not a Unicode escape");
        *to = encode_utf8(*to, code);
        return true;
    }
    const char *name = c ? strchr(NAMES, c) : NULL;
    if (!name) return fail(json, "no such escape");
    *(*to)++ = (unsigned char)VALUES[name - NAMES];
    return true;
}

bool json_string(struct json *json, struct slice *value) {
    if (json->error) return false;
    skip_space(json);
    if (peek(json) != '"') return fail(json, "expected a string");
    unsigned char *to = ++json->at;
    value->at = to;
    for (;;) {
        int c = peek(json);
        if (c < 0) return fail(json, "the string has no end");
        if (c < 0x20) return fail(json, "a control character stands in a string");
        json->at++;
        if (c == '"') break;
        if (c != '\\') {
            *to++ = (unsigned char)c;
        } else if (!escape(json, &to)) {
            return false;
        }
    }
    value->length = (size_t)(to - value->at);
    return true;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }

bool json_whole_number(struct json *json, uint32_t *value) {
    if (json->error) return false;
    skip_space(json);
    if (!is_digit(peek(json))) return fail(json, "expected a whole number");
    uint64_t number = 0;
    for (; is_digit(peek(json)); json->at++) {
        number = number * 10 + (uint64_t)(*json->at - '0');
        if (number > UINT32_MAX) return fail(json, "the number is too large");
    }
    if (peek(json) == '.')
        do json->at++;
        while (peek(json) == '0');
    int c = peek(json);
    if (is_digit(c) || c == 'e' || c == 'E') return fail(json, "expected a whole number");
    *value = (uint32_t)number;
    return true;
}

bool json_finish(struct json *json) {
    if (json->error) return false;
    skip_space(json);
    return json->at == json->end || fail(json, "something follows the document");
}

bool slice_is(struct slice slice, const char *text) {
    return slice.length == strlen(text) && memcmp(slice.at, text, slice.length) == 0;
}

void json_write_string(struct slice text) {
    static const char HEX[] = "0123456789abcdef";
    putchar('"');
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = text.at[i];
        if (c < 0x20) {
            fputs("\\u00", stdout);
            putchar(HEX[c >> 4]);
            putchar(HEX[c & 15]);
        } else {
            if (c == '"' || c == '\\') putchar('\\');
            putchar(c);
        }
    }
    putchar('"');
}

void json_write_number(uint64_t number) {
    char digits[20]; /* as many as UINT64_MAX has */
    char *at = digits + sizeof digits;
    do *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    fwrite(at, 1, (size_t)(digits + sizeof digits - at), stdout);
}
