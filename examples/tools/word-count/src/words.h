/* Counts the words of a text, and finds the most frequent ones. */
#ifndef WORDS_H
#define WORDS_H

#include "json.h"

struct word {
    struct slice text; /* points into the counted text */
    uint32_t hash;
    uint32_t count; /* 0: an empty place in the table */
};

struct words {
    uint64_t total, lines, characters;
    struct word *table;
    size_t places; /* a power of two */
    size_t distinct;
};

/* Counts `text` and lowercases its ASCII letters. False when memory runs out. */
bool words_count(struct words *words, struct slice text);

/* The up to `*length` most frequent words, by count and then by their bytes; `*length` becomes
 * how many there are. NULL when memory runs out. */
struct word *words_top(const struct words *words, size_t *length);

#endif
