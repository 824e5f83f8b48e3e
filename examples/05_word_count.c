/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 05_word_count [FILE...]: how often each word occurs, counted by one actor for each core.
 *
 * The main thread reads, because reading may block, and a handler must not. It posts the text in
 * chunks to whichever counter has said that it is ready: so fast counters get more, and no more than
 * two chunks for each counter are ever in memory. A chunk ends where a word ends; the beginning of a
 * word that was cut is carried over into the next chunk. The chunks are filled in place and given
 * away: the text is not copied on its way to the counter.
 *
 * A word is what lies between white space (isspace in the C locale), any bytes. In the total, a word
 * without a single printing character is left out, as `LC_ALL=C wc -w` does; the twenty most
 * frequent words are those of `tr -s '[:space:]' '\n' | LC_ALL=C sort | uniq -c`.
 *
 * The check: the reader counts the beginnings of words before the text is cut up; the tables of the
 * counters, merged, must come to the same number, and to the same number of bytes.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KITH_SOURCE_DIR
#define KITH_SOURCE_DIR "." /* where the default input is, if not in the current directory */
#endif

enum { CHUNK_BYTES = 128 * 1024, CHUNKS_PER_COUNTER = 2, TOP = 20 };

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_printing(char c)
{
    return c > ' ' && c <= '~';
}

/* ---- a table of words: open addressing, linear probing, at most half full ---- */

struct word {
    char *text; /* NULL: a free place */
    size_t n;
    uint64_t hash;
    uint64_t count;
};

struct table {
    struct word *places;
    size_t size; /* a power of two, or 0 */
    size_t used;
};

static void table_free(struct table *table)
{
    for (size_t i = 0; i < table->size; i++)
        free(table->places[i].text);
    free(table->places);
    *table = (struct table){0};
}

static uint64_t hash_of(const char *text, size_t n) /* FNV-1a */
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

static struct word *table_place(const struct table *table, const char *text, size_t n,
                                uint64_t hash)
{
    size_t i = hash & (table->size - 1);
    for (;; i = (i + 1) & (table->size - 1)) {
        struct word *at = &table->places[i];
        if (at->text == NULL || (at->hash == hash && at->n == n && memcmp(at->text, text, n) == 0))
            return at;
    }
}

static bool table_grow(struct table *table)
{
    struct table bigger = {.size = table->size ? 2 * table->size : 1024, .used = table->used};
    bigger.places = calloc(bigger.size, sizeof *bigger.places);
    if (bigger.places == NULL)
        return false;
    for (size_t i = 0; i < table->size; i++) {
        struct word *w = &table->places[i];
        if (w->text != NULL)
            *table_place(&bigger, w->text, w->n, w->hash) = *w;
    }
    free(table->places);
    *table = bigger;
    return true;
}

/* Adds count occurrences of a word; false if memory is out. */
static bool table_add(struct table *table, const char *text, size_t n, uint64_t count)
{
    if (2 * table->used >= table->size && !table_grow(table))
        return false;
    uint64_t hash = hash_of(text, n);
    struct word *at = table_place(table, text, n, hash);
    if (at->text == NULL) {
        char *copy = malloc(n);
        if (copy == NULL)
            return false;
        memcpy(copy, text, n);
        *at = (struct word){.text = copy, .n = n, .hash = hash};
        table->used++;
    }
    at->count += count;
    return true;
}

/* ---- a counter ---- */

KITH_MESSAGE(ready, { char none; });
KITH_MESSAGE(get_tally, { char none; });
KITH_MESSAGE(chunk, {
    size_t n;
    size_t room;
    char text[];
});

KITH_MESSAGE_OWNING(tally, { struct table table; });
KITH_DROP(tally)
{
    table_free(&msg->table);
}

struct counter {
    struct table table;
};

static kith_err counter_init(kith_self *self, KITH_UNUSED void *state, KITH_UNUSED const void *arg)
{
    kith_err err = KITH_OK;
    for (int i = 0; i < CHUNKS_PER_COUNTER && err == KITH_OK; i++)
        err = kith_send(self, kith_parent(self), ready);
    return err;
}

static void counter_stop(KITH_UNUSED kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct counter *me = state;
    table_free(&me->table);
}

KITH_ON(counter, chunk)
{
    const char *at = msg->text;
    const char *end = msg->text + msg->n;
    while (at < end) {
        const char *word = at;
        while (at < end && !is_space(*at))
            at++;
        if (at > word && !table_add(&me->table, word, (size_t)(at - word), 1))
            return KITH_ENOMEM;
        at++;
    }
    return kith_send(self, kith_parent(self), ready);
}

KITH_ON(counter, get_tally)
{
    struct table table = me->table;
    me->table = (struct table){0}; /* the answer owns it now */
    kith_err err = kith_reply(self, tally, .table = table);
    if (err != KITH_OK && err != KITH_EDEAD)
        me->table = table;
    return err;
}

static const kith_behavior counter = {
    .name = "counter",
    .state_bytes = sizeof(struct counter),
    .init = counter_init,
    .stop = counter_stop,
    .handlers = KITH_HANDLERS(counter, chunk, get_tally),
};

/* ---- the reader: the main thread ---- */

struct job {
    kith_self *self;
    kith_co *co;
    char **files;
    size_t n_files;
    kith_ref counters[KITH_WORKERS_MAX];
    unsigned n_counters;
    uint64_t words;      /* as wc counts them */
    uint64_t word_bytes; /* that are not white space */
    bool in_word;        /* what the count of words knows of the bytes before */
    bool failed;         /* a file could not be read */
    struct table total;
};

static void complain(struct job *job, const char *file, const char *why)
{
    fprintf(stderr, "05_word_count: %s: %s\n", file, why);
    job->failed = true;
}

/* Counts a word at its first printing character. */
static void count_words(struct job *job, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_space(text[i])) {
            job->in_word = false;
            continue;
        }
        job->word_bytes++;
        if (is_printing(text[i]) && !job->in_word) {
            job->in_word = true;
            job->words++;
        }
    }
}

static chunk *new_chunk(struct job *job, size_t room)
{
    chunk *c = kith_new_flex(job->self, chunk, room, sizeof(char));
    if (c != NULL)
        c->room = room;
    return c;
}

/* Waits until a counter is ready. */
static kith_err next_ready(struct job *job, kith_ref *counter_ref)
{
    kith_msg *msg;
    kith_err err = kith_receive(job->co, KITH_FOREVER, &msg);
    if (err != KITH_OK)
        return err;
    *counter_ref = kith_msg_sender(msg);
    /* Else it is a kith_down: a counter has died, of which the log tells. */
    return kith_body(msg, ready) != NULL ? KITH_OK : KITH_EFAILED;
}

/* Gives c to a counter that is ready. Takes c in any case. */
static kith_err hand_out(struct job *job, chunk *c)
{
    kith_ref to;
    kith_err err = next_ready(job, &to);
    if (err == KITH_OK)
        err = kith_post(job->self, to, c);
    if (err != KITH_OK && err != KITH_EDEAD)
        kith_discard(job->self, c);
    return err;
}

/* How many bytes of c come before its last, perhaps unfinished, word. */
static size_t whole_words(const chunk *c)
{
    size_t n = c->n;
    while (n > 0 && !is_space(c->text[n - 1]))
        n--;
    return n;
}

/* Hands out the whole words of *c, which is full, and makes the next chunk, with what is left over;
 * a single word that fills all of *c gets a chunk of twice the room. *c is NULL after an error. */
static kith_err turn_over(struct job *job, chunk **c)
{
    chunk *full = *c;
    size_t whole = whole_words(full);
    size_t rest = full->n - whole;
    *c = new_chunk(job, whole == 0 ? 2 * full->room : CHUNK_BYTES + rest);
    if (*c == NULL) {
        kith_discard(job->self, full);
        return KITH_ENOMEM;
    }
    memcpy((*c)->text, full->text + whole, rest);
    (*c)->n = rest;
    if (whole == 0) {
        kith_discard(job->self, full);
        return KITH_OK;
    }
    full->n = whole;
    kith_err err = hand_out(job, full);
    if (err != KITH_OK) {
        kith_discard(job->self, *c);
        *c = NULL;
    }
    return err;
}

/* Reads fd to its end. What was read before an error has been counted, as wc does. */
static kith_err read_all(struct job *job, const char *file, int fd)
{
    kith_err err = KITH_OK;
    chunk *c = new_chunk(job, CHUNK_BYTES);
    while (c != NULL && err == KITH_OK) {
        ssize_t got = read(fd, c->text + c->n, c->room - c->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            complain(job, file, strerror(errno));
        if (got <= 0)
            break;
        count_words(job, c->text + c->n, (size_t)got);
        c->n += (size_t)got;
        if (c->n == c->room)
            err = turn_over(job, &c);
    }
    job->in_word = false; /* a word does not go on in the next file */
    if (c == NULL)
        return err == KITH_OK ? KITH_ENOMEM : err;
    return hand_out(job, c);
}

static kith_err count_file(struct job *job, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain(job, file, strerror(errno));
        return KITH_OK;
    }
    kith_err err = read_all(job, file, fd); /* reading a directory says EISDIR */
    close(fd);
    return err;
}

/* ---- merging and printing ---- */

static bool merge(struct table *total, const struct table *part)
{
    for (size_t i = 0; i < part->size; i++) {
        const struct word *w = &part->places[i];
        if (w->text != NULL && !table_add(total, w->text, w->n, w->count))
            return false;
    }
    return true;
}

/* Waits until all chunks have been counted: everybody is then as ready as in the beginning. */
static kith_err wait_for_all(struct job *job)
{
    kith_ref whoever;
    kith_err err = KITH_OK;
    for (unsigned i = 0; i < job->n_counters * CHUNKS_PER_COUNTER && err == KITH_OK; i++)
        err = next_ready(job, &whoever);
    return err;
}

static kith_err collect(struct job *job)
{
    for (unsigned i = 0; i < job->n_counters; i++) {
        kith_msg *reply;
        kith_err err = kith_ask(job->co, job->counters[i], KITH_FOREVER, &reply, get_tally);
        if (err != KITH_OK)
            return err;
        if (!merge(&job->total, &kith_body(reply, tally)->table))
            return KITH_ENOMEM;
    }
    return KITH_OK;
}

static int by_count_then_bytes(const void *left, const void *right)
{
    const struct word *a = left;
    const struct word *b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    int order = memcmp(a->text, b->text, a->n < b->n ? a->n : b->n);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

/* Prints the most frequent words as uniq -c does. Leaves the table sorted, good for no look-up. */
static void print_top(struct table *total)
{
    size_t n = 0;
    for (size_t i = 0; i < total->size; i++)
        if (total->places[i].text != NULL) {
            struct word word = total->places[i];
            total->places[i].text = NULL;
            total->places[n++] = word;
        }
    if (n > 0)
        qsort(total->places, n, sizeof *total->places, by_count_then_bytes);
    for (size_t i = 0; i < n && i < TOP; i++) {
        printf("%7llu ", (unsigned long long)total->places[i].count);
        fwrite(total->places[i].text, 1, total->places[i].n, stdout);
        putchar('\n');
    }
}

static bool printing_word(const struct word *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (is_printing(w->text[i]))
            return true;
    return false;
}

static bool check(const struct job *job)
{
    uint64_t words = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < job->total.size; i++) {
        const struct word *w = &job->total.places[i];
        if (w->text == NULL)
            continue;
        bytes += w->count * w->n;
        if (printing_word(w))
            words += w->count;
    }
    bool ok = words == job->words && bytes == job->word_bytes;
    printf("check: %llu words read, %llu words in the merged counts: %s\n",
           (unsigned long long)job->words, (unsigned long long)words, ok ? "ok" : "FAILED");
    return ok;
}

static kith_err count_all(struct job *job)
{
    job->n_counters = kith_cpus();
    for (unsigned i = 0; i < job->n_counters; i++) {
        job->counters[i] = kith_spawn(job->self, &counter, NULL);
        kith_err err = kith_monitor(job->self, job->counters[i]);
        if (err != KITH_OK)
            return err;
    }
    for (size_t i = 0; i < job->n_files; i++) {
        kith_err err = count_file(job, job->files[i]);
        if (err != KITH_OK)
            return err;
    }
    kith_err err = wait_for_all(job);
    return err == KITH_OK ? collect(job) : err;
}

static void word_count(kith_self *self, kith_co *co, void *arg)
{
    struct job *job = arg;
    job->self = self;
    job->co = co;
    kith_err err = count_all(job);
    bool ok = err == KITH_OK;
    if (ok) {
        printf("%llu words\n", (unsigned long long)job->words);
        ok = check(job);
        print_top(&job->total);
    } else {
        fprintf(stderr, "05_word_count: %s\n", kith_strerror(err));
    }
    table_free(&job->total);
    if (!ok || job->failed)
        kith_fail(self, KITH_EFAILED);
}

/* The project's own texts, from here or from where the program was built. */
static void own_texts(glob_t *found)
{
    static const char *const patterns[] = {
        "[A-Z]*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "tests/*.md",
    };
    static const char *const places[] = {".", KITH_SOURCE_DIR};
    for (size_t p = 0; p < 2 && found->gl_pathc == 0; p++)
        for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", places[p], patterns[i]);
            glob(path, found->gl_pathc > 0 ? GLOB_APPEND : 0, NULL, found);
        }
}

int main(int argc, char **argv)
{
    glob_t own = {0};
    struct job job = {.files = argv + 1, .n_files = (size_t)(argc - 1)};
    if (argc < 2) {
        own_texts(&own);
        job.files = own.gl_pathv;
        job.n_files = own.gl_pathc;
    }
    int status = 1;
    if (job.n_files > 0)
        status = kith_main(NULL, word_count, &job);
    else
        fprintf(stderr, "usage: 05_word_count FILE...\n");
    globfree(&own);
    return status;
}
