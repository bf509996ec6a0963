#include "words.h"

#include <stdlib.h>
#include <string.h>

/* Places of an empty table. */
#define FIRST_PLACES 1024

/* Letters, digits, the apostrophe, and every byte of a character outside ASCII. */
static bool in_word(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
           c >= 0x80;
}

static bool same(struct slice a, struct slice b) {
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

/* Where `text` is, or belongs. The table always has empty places. */
static struct word *place(struct word *table, size_t places, uint32_t hash, struct slice text) {
    size_t i = hash & (places - 1);
    while (table[i].count > 0 && !(table[i].hash == hash && same(table[i].text, text)))
        i = (i + 1) & (places - 1);
    return &table[i];
}

/* Doubles the table once it is two thirds full. */
static bool make_room(struct words *words) {
    if (words->distinct < words->places / 3 * 2) return true;
    size_t places = words->places == 0 ? FIRST_PLACES : words->places * 2;
    struct word *table = calloc(places, sizeof *table);
    if (!table) return false;
    for (size_t i = 0; i < words->places; i++) {
        const struct word *word = &words->table[i];
        if (word->count > 0) *place(table, places, word->hash, word->text) = *word;
    }
    free(words->table);
    words->table = table;
    words->places = places;
    return true;
}

static bool add(struct words *words, struct slice text, uint32_t hash) {
    if (!make_room(words)) return false;
    struct word *word = place(words->table, words->places, hash, text);
    if (word->count == 0) {
        *word = (struct word){text, hash, 0};
        words->distinct++;
    }
    word->count++;
    words->total++;
    return true;
}

/* Takes the word that starts at `start`; returns its end. */
static unsigned char *lower_word(unsigned char *start, unsigned char *end, uint32_t *hash) {
    unsigned char *at = start;
    *hash = 2166136261u; /* FNV-1a */
    for (; at < end && in_word(*at); at++) {
        if (*at >= 'A' && *at <= 'Z') *at |= 0x20;
        *hash = (*hash ^ *at) * 16777619u;
    }
    return at;
}

bool words_count(struct words *words, struct slice text) {
    unsigned char *end = text.at + text.length;
    *words = (struct words){0};
    for (const unsigned char *at = text.at; at < end; at++) {
        if (*at == '\n') words->lines++;
        if ((*at & 0xc0) != 0x80) words->characters++; /* the first byte of a character */
    }
    if (text.length > 0 && end[-1] != '\n') words->lines++; /* the last line may lack its end */

    for (unsigned char *at = text.at; at < end;) {
        uint32_t hash;
        unsigned char *stop = lower_word(at, end, &hash);
        if (stop > at) {
            if (!add(words, (struct slice){at, (size_t)(stop - at)}, hash)) return false;
            at = stop;
        } else {
            at++;
        }
    }
    return true;
}

/* Below 0 when `a` ranks before `b`: more often, or as often and smaller. */
static int rank(const void *a_, const void *b_) {
    const struct word *a = a_, *b = b_;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    size_t shorter = a->text.length < b->text.length ? a->text.length : b->text.length;
    int order = memcmp(a->text.at, b->text.at, shorter);
    if (order != 0) return order;
    return (a->text.length > b->text.length) - (a->text.length < b->text.length);
}

static void swap(struct word *a, struct word *b) {
    struct word other = *a;
    *a = *b;
    *b = other;
}

/* In the heap `heap` no word ranks before those below it, so its first word is the last-ranked
 * one. Restores that after the word at `parent` was replaced. */
static void sift_down(struct word *heap, size_t length, size_t parent) {
    for (;;) {
        size_t child = parent * 2 + 1;
        if (child >= length) return;
        if (child + 1 < length && rank(&heap[child], &heap[child + 1]) < 0) child++;
        if (rank(&heap[parent], &heap[child]) >= 0) return;
        swap(&heap[parent], &heap[child]);
        parent = child;
    }
}

struct word *words_top(const struct words *words, size_t *length) {
    size_t wanted = *length < words->distinct ? *length : words->distinct, kept = 0;
    struct word *top = malloc((wanted + 1) * sizeof *top);
    if (!top) return NULL;
    for (size_t i = 0; i < words->places && wanted > 0; i++) {
        const struct word *word = &words->table[i];
        if (word->count == 0) continue;
        if (kept < wanted) {
            top[kept++] = *word;
            if (kept == wanted) /* full: make it a heap, from its last parent to its first */
                for (size_t parent = wanted / 2; parent-- > 0;) sift_down(top, wanted, parent);
        } else if (rank(word, &top[0]) < 0) {
            top[0] = *word;
            sift_down(top, wanted, 0);
        }
    }
    qsort(top, kept, sizeof *top, rank);
    *length = kept;
    return top;
}
