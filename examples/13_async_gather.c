/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 13_async_gather [--loop | --workers N]: two pages are fetched from a server that takes two seconds for
 * each, and it takes two seconds in all: each fetch is a task, and a task that waits costs nothing.
 *
 * The server is a part of the program (on a port of its own, of this machine alone): a fiber for each
 * connection, and the fetches go through TCP. With --loop all of it runs on this one thread.
 *
 * Then the same with a page that does not exist: the first failure ends the gather at once, and cancels
 * the fetch of the other page, which nobody would wait for any more.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 100
#define LIMIT kith_in(KITH_MINUTE)

/* ---- the server ---- */

static void serve_page(kith_self *self, kith_co *co, void *arg)
{
    kith_sock sock = *(const kith_sock *)arg;
    char name[PAGE_BYTES];
    char page[PAGE_BYTES + 20];
    size_t n;
    if (kith_read(co, sock, name, sizeof name - 1, &n, LIMIT) == KITH_OK) {
        name[n] = '\0';
        bool found = strcmp(name, "nowhere") != 0;
        int bytes = snprintf(page, sizeof page, "this is page %s", name);
        if (found && kith_sleep(co, kith_in(2 * KITH_SECOND)) == KITH_OK)
            (void)!kith_write(co, sock, page, (size_t)bytes, LIMIT); /* or the client is gone */
    }
    kith_close(self, sock);
}

static void serve(kith_self *self, kith_co *co, void *arg)
{
    kith_sock conn;
    while (kith_accept(co, *(const kith_sock *)arg, KITH_FOREVER, &conn) == KITH_OK) {
        kith_fiber_options options = {.sock = conn, .arg_bytes = sizeof conn};
        if (kith_ref_error(kith_go_with(self, serve_page, &conn, &options)) != KITH_OK)
            kith_close(self, conn);
    }
}

/* ---- the client ---- */

struct order {
    uint16_t port;
    const char *name;
};

/* All that comes until the server has finished. */
static kith_err read_all(kith_co *co, kith_sock sock, char *page)
{
    size_t used = 0;
    size_t n;
    kith_err err;
    do {
        err = kith_read(co, sock, page + used, PAGE_BYTES - 1 - used, &n, LIMIT);
        used += err == KITH_OK ? n : 0;
    } while (err == KITH_OK && n > 0 && used < PAGE_BYTES - 1);
    page[used] = '\0';
    return err == KITH_OK && used == 0 ? KITH_ENOTCONN : err; /* it has no such page */
}

/* A task: its result is the page. */
static kith_err fetch(kith_self *self, kith_co *co, void *arg, void **result)
{
    const struct order *order = arg;
    kith_sock sock;
    kith_err err = kith_dial(co, "127.0.0.1", order->port, LIMIT, NULL, &sock);
    if (err != KITH_OK)
        return err;
    char *page = malloc(PAGE_BYTES);
    err =
        page == NULL ? KITH_ENOMEM : kith_write(co, sock, order->name, strlen(order->name), LIMIT);
    if (err == KITH_OK)
        err = read_all(co, sock, page);
    kith_close(self, sock);
    *result = page;
    return err;
}

/* Fetches two pages at once; prints what came of it, and tells how each ended. */
static kith_err fetch_two(kith_co *co, uint16_t port, const char *first, const char *second,
                          kith_err status[2])
{
    struct order orders[2] = {{port, first}, {port, second}};
    kith_future *page[2];
    kith_time began = kith_now();
    for (int i = 0; i < 2; i++) {
        page[i] = kith_async(co, fetch, &orders[i]);
        kith_future_owns(page[i], free);
    }
    kith_err err = kith_gather(co, page, 2, LIMIT);
    for (int i = 0; i < 2; i++) {
        void *text = NULL;
        status[i] = kith_future_result(page[i], &text);
        printf("%s: %s\n", orders[i].name, text != NULL ? (char *)text : kith_strerror(status[i]));
        free(text); /* it is ours, because we have asked for it */
        kith_future_drop(page[i]);
    }
    printf("two fetches in %.2f s\n", (double)(kith_now() - began) / 1e9);
    return err;
}

static void check(kith_self *self, const char *what, bool ok)
{
    printf("check: %s: %s\n", what, ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

/* One after the other they would take 4 seconds; what is left is for a slow machine. */
static void gather(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_sock handed_on = listener;
    uint16_t port;
    if (kith_sock_error(listener) != KITH_OK ||
        kith_sock_local(self, listener, NULL, &port) != KITH_OK) {
        check(self, "listening", false);
        return;
    }
    kith_fiber_options options = {.sock = listener, .arg_bytes = sizeof listener};
    kith_ref server = kith_go_with(self, serve, &handed_on, &options);

    kith_time began = kith_now();
    kith_err status[2];
    kith_err err = fetch_two(co, port, "one", "two", status);
    kith_time took = kith_now() - began;
    check(self, "both pages in the time of one", err == KITH_OK && took < 4 * KITH_SECOND);

    err = fetch_two(co, port, "one", "nowhere", status);
    check(self, "the first failure cancels the rest",
          err == KITH_ENOTCONN && status[0] == KITH_ECANCELED);
    kith_stop(self, server);
}

int main(int argc, char **argv)
{
    kith_config config = {0};
    if (argc == 2 && strcmp(argv[1], "--loop") == 0) {
        config.executor = KITH_LOOP;
    } else if (argc == 3 && strcmp(argv[1], "--workers") == 0 && atoi(argv[2]) > 0) {
        config.workers = (unsigned)atoi(argv[2]);
    } else if (argc != 1) {
        fprintf(stderr, "usage: 13_async_gather [--loop | --workers N]\n");
        return 2;
    }
    return kith_main(&config, gather, NULL);
}
