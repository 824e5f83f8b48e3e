/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 07_chat_server [PORT [ADDRESS]]: a chat server with names and rooms, to be used with nc or telnet.
 *
 *     line of text    is said to all others in the room
 *     /nick NAME      changes the name; /join ROOM the room; /who lists who is here
 *     /help, /quit
 *
 * The hall is one actor: it listens, and knows the names and the rooms. Each room is one: what is
 * said in it passes through it, so all members see the same order. Each client is one: it owns the
 * connection. What must hold:
 * - A client asks one thing at a time, and reads no further lines before it is done. So "/join a"
 *   and "hello" in one packet say hello in room a, and a client cannot flood the room's mailbox.
 * - A client that does not read is dropped when its write buffer is full (KITH_EFULL) or a line has
 *   not left in time (kith_closed). The client's actor dies of it; nobody else waits for it.
 * - The hall and the room monitor each client: however it ends, its name and its place become free.
 *   A kith_down overtakes what the dead client said: so the room mails it to itself once more.
 * - Whatever bytes a client sends, others get lines of bounded length without control characters.
 *
 * The port is 7008 if none is given; 0 is any free one. The address is 127.0.0.1 if none is given.
 */
#include <ctype.h>
#include <kith.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 17, LINE_BYTES = 513, ROOMS_MAX = 256 }; /* each with its NUL */

static const kith_time PATIENCE = 10 * KITH_SECOND; /* for a client that takes nothing, or stays */

struct name {
    char text[NAME_BYTES];
};

/* ---- what they say to each other ---- */

/* Client to hall, which answers. */
KITH_MESSAGE(take_name, { struct name wanted; });
KITH_MESSAGE(name_taken, {
    struct name name;
    bool yours;
});

/* Client to hall, which forwards it to the room, which answers. */
KITH_MESSAGE(join, {
    struct name room;
    struct name who;
});
KITH_MESSAGE(joined, {
    kith_ref room; /* zero: there is no room for another room */
    struct name name;
});

/* Client to room, which answers all three with done. */
KITH_MESSAGE(say, {
    struct name who;
    char text[LINE_BYTES];
});
KITH_MESSAGE(rename_me, { struct name now; });
KITH_MESSAGE(list_members, { char none; });
KITH_MESSAGE(done, { char none; });

/* Client to hall and room, or room to itself: somebody goes. Room to client: to be shown. */
KITH_MESSAGE(leave, {
    kith_ref who;
    kith_err reason;
});
KITH_MESSAGE(line, {
    size_t n;
    char text[];
});
KITH_MESSAGE(room_empty, { unsigned long joins; }); /* room to hall: after so many joins */
KITH_MESSAGE(overdue, { char none; });              /* client to itself, by timer */

/* ---- names, and lists of people ---- */

static bool name_is_valid(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t n = strspn(text, allowed);
    return n > 0 && n < NAME_BYTES && text[n] == '\0';
}

static struct name make_name(const char *text)
{
    struct name made = {{0}};
    snprintf(made.text, sizeof made.text, "%s", text);
    return made;
}

struct person {
    kith_ref client;
    struct name name;
};

struct people {
    struct person *list;
    size_t n;
};

static struct person *person_of(const struct people *people, kith_ref who)
{
    for (size_t i = 0; i < people->n; i++)
        if (kith_ref_same(people->list[i].client, who))
            return &people->list[i];
    return NULL;
}

static struct person *person_named(const struct people *people, const struct name *name)
{
    for (size_t i = 0; i < people->n; i++)
        if (strcmp(people->list[i].name.text, name->text) == 0)
            return &people->list[i];
    return NULL;
}

/* Adds somebody and monitors them, so that a kith_down tells when to take them out again. */
static kith_err people_add(kith_self *self, struct people *people, struct person person)
{
    if ((people->n & (people->n - 1)) == 0) { /* 0, 1, 2, 4, 8 ...: full; its size doubles */
        size_t size = people->n == 0 ? 1 : 2 * people->n;
        struct person *list = realloc(people->list, size * sizeof *list);
        if (list == NULL)
            return KITH_ENOMEM;
        people->list = list;
    }
    kith_err err = kith_monitor(self, person.client);
    if (err == KITH_OK)
        people->list[people->n++] = person;
    return err;
}

/* ---- a room ---- */

struct room {
    struct name name;
    struct people members;
    unsigned long joins;
};

static kith_err room_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    struct room *me = state;
    me->name = *(const struct name *)arg;
    return KITH_OK;
}

static void room_stop(KITH_UNUSED kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct room *me = state;
    free(me->members.list);
}

/* Shows a line to one client. One that is dead gets nothing, and the room will hear of it. */
static void show(kith_self *self, kith_ref client, const char *text, size_t n)
{
    line *l = kith_new_flex(self, line, n, sizeof(char));
    if (l == NULL)
        return;
    l->n = n;
    memcpy(l->text, text, n);
    kith_err err = kith_post(self, client, l);
    if (err != KITH_OK && err != KITH_EDEAD)
        kith_discard(self, l);
}

/* Shows a line to all members but one. */
__attribute__((format(printf, 4, 5))) static void announce(kith_self *self, const struct room *me,
                                                           kith_ref but, const char *format, ...)
{
    char text[NAME_BYTES + LINE_BYTES + 64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < me->members.n; i++)
        if (!kith_ref_same(me->members.list[i].client, but))
            show(self, me->members.list[i].client, text, (size_t)n);
}

KITH_ON(room, join)
{
    kith_ref client = kith_sender(self);
    me->joins++;
    if (person_of(&me->members, client) == NULL) {
        if (people_add(self, &me->members, (struct person){client, msg->who}) != KITH_OK) {
            kith_send(self, client, joined);
            return KITH_OK;
        }
        announce(self, me, client, "* %s has joined\n", msg->who.text);
    }
    kith_send(self, client, joined, .room = kith_self_ref(self), .name = me->name);
    return KITH_OK; /* also if the client is dead by now: the room lives on */
}

KITH_ON(room, say)
{
    announce(self, me, kith_sender(self), "%s: %s\n", msg->who.text, msg->text);
    kith_reply(self, done);
    return KITH_OK;
}

KITH_ON(room, rename_me)
{
    struct person *member = person_of(&me->members, kith_sender(self));
    if (member != NULL) {
        announce(self, me, member->client, "* %s is now %s\n", member->name.text, msg->now.text);
        member->name = msg->now;
    }
    kith_reply(self, done);
    return KITH_OK;
}

KITH_ON(room, list_members)
{
    char text[2 * NAME_BYTES + 32];
    int n = snprintf(text, sizeof text, "* %zu in %s:\n", me->members.n, me->name.text);
    show(self, kith_sender(self), text, (size_t)n);
    for (size_t i = 0; i < me->members.n; i++) {
        n = snprintf(text, sizeof text, "* - %s\n", me->members.list[i].name.text);
        show(self, kith_sender(self), text, (size_t)n);
    }
    kith_reply(self, done);
    return KITH_OK;
}

static const char *farewell(kith_err reason)
{
    if (reason == KITH_EFULL || reason == KITH_ETIMEOUT)
        return "was dropped: does not read";
    return reason == KITH_OK ? "has left" : "is gone";
}

KITH_ON(room, leave)
{
    struct person *member = person_of(&me->members, msg->who);
    if (member == NULL)
        return KITH_OK; /* the second time: it left, and then it ended */
    struct name who = member->name;
    *member = me->members.list[--me->members.n];
    kith_demonitor(self, msg->who);
    announce(self, me, msg->who, "* %s %s\n", who.text, farewell(msg->reason));
    if (me->members.n == 0)
        kith_send(self, kith_parent(self), room_empty, .joins = me->joins);
    return KITH_OK;
}

KITH_ON(room, kith_down)
{
    return kith_send(self, kith_self_ref(self), leave, .who = msg->ref, .reason = msg->reason);
}

static const kith_behavior room = {
    .name = "room",
    .state_bytes = sizeof(struct room),
    .init = room_init,
    .stop = room_stop,
    .handlers = KITH_HANDLERS(room, join, say, rename_me, list_members, leave, kith_down),
};

/* ---- a client ---- */

struct client {
    kith_sock sock;
    kith_ref hall;
    kith_ref room;
    struct name name;
    char line[LINE_BYTES]; /* the line that is being read */
    size_t n;              /* how much of it there is; LINE_BYTES: too much */
    bool waiting;          /* for what was asked last */
    bool ending;           /* said goodbye; nothing more is read or shown */
    bool input_over;
    kith_data *held; /* input that came with the last question and has not been looked at */
    size_t held_from;
};

static kith_err client_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    *(struct client *)state = *(const struct client *)arg;
    return KITH_OK;
}

static void client_stop(kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct client *me = state;
    kith_discard(self, me->held);
}

/* Writes to the connection. A client that does not take it fails, and with it goes the socket. */
static kith_err put(kith_self *self, const struct client *me, const char *text, size_t n)
{
    kith_err err = kith_sock_write(self, me->sock, text, n, kith_in(PATIENCE));
    if (err == KITH_EFULL || err == KITH_ENOMEM)
        return kith_fail(self, err);
    return KITH_OK; /* else it is broken, and a kith_closed is on its way */
}

__attribute__((format(printf, 3, 4))) static kith_err tell(kith_self *self, const struct client *me,
                                                           const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return put(self, me, text, (size_t)n);
}

/* The client ends when all that it was told has left and the other side has closed as well
 * (kith_closed), or when that takes too long. What it still sends is read, up to its end. */
static kith_err say_goodbye(kith_self *self, struct client *me)
{
    me->ending = true;
    kith_send(self, me->hall, leave, .who = kith_self_ref(self)); /* the name is free now */
    kith_send(self, me->room, leave, .who = kith_self_ref(self));
    kith_err err = tell(self, me, "* bye\n");
    if (err != KITH_OK)
        return err;
    kith_sock_finish(self, me->sock);
    kith_sock_reading(self, me->sock, true);
    return kith_timer_error(kith_at(self, kith_in(PATIENCE), overdue));
}

static kith_err ask_for_name(kith_self *self, struct client *me, const char *wanted)
{
    if (!name_is_valid(wanted))
        return tell(self, me, "* a name is 1 to %d letters, digits, - or _\n", NAME_BYTES - 1);
    me->waiting = true;
    return kith_send(self, me->hall, take_name, .wanted = make_name(wanted));
}

static kith_err ask_to_join(kith_self *self, struct client *me, const char *wanted)
{
    if (!name_is_valid(wanted))
        return tell(self, me, "* a room is called by 1 to %d letters, digits, - or _\n",
                    NAME_BYTES - 1);
    me->waiting = true;
    return kith_send(self, me->hall, join, .room = make_name(wanted), .who = me->name);
}

static kith_err say_line(kith_self *self, struct client *me)
{
    say s = {.who = me->name};
    memcpy(s.text, me->line, me->n + 1);
    me->waiting = true;
    return kith_send_copy(self, me->room, &kith_type_say, &s);
}

static bool is_command(const char *text, const char *command, const char **argument)
{
    size_t n = strlen(command);
    if (strncmp(text, command, n) != 0 || (text[n] != ' ' && text[n] != '\0'))
        return false;
    *argument = text + n + strspn(text + n, " ");
    return true;
}

static kith_err obey(kith_self *self, struct client *me)
{
    const char *argument;
    if (is_command(me->line, "/quit", &argument))
        return say_goodbye(self, me);
    if (is_command(me->line, "/nick", &argument))
        return ask_for_name(self, me, argument);
    if (is_command(me->line, "/join", &argument))
        return ask_to_join(self, me, argument);
    if (is_command(me->line, "/who", &argument)) {
        me->waiting = true;
        return kith_send(self, me->room, list_members);
    }
    if (is_command(me->line, "/help", &argument))
        return tell(self, me, "* /nick NAME, /join ROOM, /who, /quit; all else is said\n");
    return tell(self, me, "* there is no such command; /help lists them\n");
}

/* Takes the line that has been read, without its end. */
static kith_err take_line(kith_self *self, struct client *me)
{
    if (me->n == LINE_BYTES)
        return tell(self, me, "* that line is too long; %d bytes go into one\n", LINE_BYTES - 1);
    while (me->n > 0 && (me->line[me->n - 1] == '\r' || me->line[me->n - 1] == ' '))
        me->n--;
    me->line[me->n] = '\0';
    for (size_t i = 0; i < me->n; i++)
        if (iscntrl((unsigned char)me->line[i]) && me->line[i] != '\t')
            return tell(self, me, "* a line is plain text, without control characters\n");
    if (me->n == 0)
        return KITH_OK;
    return me->line[0] == '/' ? obey(self, me) : say_line(self, me);
}

/* Reads lines, up to one that has to be waited for. *used tells how much of the bytes is done. */
static kith_err read_lines(kith_self *self, struct client *me, const kith_data *in, size_t *used)
{
    kith_err err = KITH_OK;
    while (*used < in->n && !me->waiting && !me->ending && err == KITH_OK) {
        char c = (char)in->bytes[(*used)++];
        if (c == '\n') {
            err = take_line(self, me);
            me->n = 0;
        } else if (me->n < LINE_BYTES - 1) {
            me->line[me->n++] = c;
        } else {
            me->n = LINE_BYTES;
        }
    }
    return err;
}

KITH_ON(client, kith_data)
{
    size_t used = 0;
    kith_err err = read_lines(self, me, msg, &used);
    if (err != KITH_OK || used == msg->n || me->ending)
        return err;
    me->held_from = used; /* no more comes in before this is done */
    me->held = kith_keep(self);
    return kith_sock_reading(self, me->sock, false);
}

/* The last line need not have an end. */
static kith_err end_of_input(kith_self *self, struct client *me)
{
    if (me->n > 0) {
        kith_err err = take_line(self, me);
        me->n = 0;
        if (err != KITH_OK || me->waiting || me->ending)
            return err;
    }
    return say_goodbye(self, me);
}

/* What was asked last has been answered: on with the lines that came with it. */
static kith_err go_on(kith_self *self, struct client *me)
{
    me->waiting = false;
    if (me->ending)
        return KITH_OK;
    if (me->held != NULL) {
        kith_err err = read_lines(self, me, me->held, &me->held_from);
        if (err != KITH_OK || (me->held_from < me->held->n && !me->ending))
            return err;
        kith_discard(self, me->held);
        me->held = NULL;
        kith_sock_reading(self, me->sock, true);
    }
    return me->input_over && !me->waiting && !me->ending ? end_of_input(self, me) : KITH_OK;
}

KITH_ON(client, kith_given)
{
    me->sock = msg->sock;
    kith_err err = tell(self, me, "* welcome, %s; /help tells what you can do\n", me->name.text);
    return err == KITH_OK ? ask_to_join(self, me, "lobby") : err;
}

KITH_ON(client, joined)
{
    if (kith_ref_error(msg->room) != KITH_OK) {
        if (tell(self, me, "* there are too many rooms\n") != KITH_OK)
            return KITH_EFULL;
        return kith_ref_error(me->room) == KITH_OK ? go_on(self, me) : say_goodbye(self, me);
    }
    if (!kith_ref_same(me->room, msg->room)) /* zero at first; the send then says so */
        kith_send(self, me->room, leave, .who = kith_self_ref(self));
    me->room = msg->room;
    if (me->ending)
        return kith_send(self, me->room, leave, .who = kith_self_ref(self));
    kith_err err = tell(self, me, "* you are in %s\n", msg->name.text);
    return err == KITH_OK ? go_on(self, me) : err;
}

KITH_ON(client, name_taken)
{
    const char *text = msg->yours ? "* you are %s\n" : "* the name %s is taken\n";
    kith_err err = tell(self, me, text, msg->name.text);
    if (err != KITH_OK || !msg->yours)
        return err == KITH_OK ? go_on(self, me) : err;
    if (strcmp(me->name.text, msg->name.text) == 0)
        return go_on(self, me); /* one's own: no news for the room */
    me->name = msg->name;
    return kith_send(self, me->room, rename_me, .now = me->name);
}

KITH_ON(client, done)
{
    return go_on(self, me);
}

KITH_ON(client, line)
{
    return me->ending ? KITH_OK : put(self, me, msg->text, msg->n);
}

KITH_ON(client, kith_eof)
{
    me->input_over = true;
    return me->ending || me->waiting ? KITH_OK : end_of_input(self, me);
}

KITH_ON(client, overdue)
{
    return kith_stop(self, kith_self_ref(self));
}

KITH_ON(client, kith_closed)
{
    if (msg->reason != KITH_OK)
        return kith_fail(self, msg->reason);
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior client = {
    .name = "client",
    .state_bytes = sizeof(struct client),
    .init = client_init,
    .stop = client_stop, /* the socket is closed with its owner */
    .handlers = KITH_HANDLERS(client, kith_given, kith_data, kith_eof, kith_closed, joined,
                              name_taken, done, line, overdue),
};

/* ---- the hall ---- */

struct open_room {
    kith_ref room;
    struct name name;
    unsigned long joins; /* forwarded to it */
};

struct hall {
    struct people guests;
    struct open_room rooms[ROOMS_MAX];
    size_t n_rooms;
    unsigned arrivals;
};

struct address {
    const char *text;
    uint16_t port;
};

static kith_err hall_init(kith_self *self, KITH_UNUSED void *state, const void *arg)
{
    const struct address *address = arg;
    kith_sock listener = kith_listen(self, address->text, address->port, NULL);
    uint16_t port = 0;
    kith_err err = kith_sock_error(listener);
    if (err == KITH_OK)
        err = kith_sock_local(self, listener, NULL, &port);
    if (err != KITH_OK)
        return err;
    printf("listening on %u\n", port);
    fflush(stdout);
    return KITH_OK;
}

static void hall_stop(KITH_UNUSED kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct hall *me = state;
    free(me->guests.list);
}

static struct name free_name(struct hall *me)
{
    struct name made;
    do {
        snprintf(made.text, sizeof made.text, "guest%u", ++me->arrivals);
    } while (person_named(&me->guests, &made) != NULL);
    return made;
}

static kith_err let_in(kith_self *self, struct hall *me, kith_sock conn)
{
    struct client seed = {.hall = kith_self_ref(self), .name = free_name(me)};
    kith_ref arrival = kith_spawn(self, &client, &seed);
    kith_err err = kith_sock_give(self, conn, arrival);
    if (err == KITH_OK)
        err = people_add(self, &me->guests, (struct person){arrival, seed.name});
    if (err != KITH_OK)
        kith_stop(self, arrival);
    return err;
}

KITH_ON(hall, kith_accepted)
{
    if (let_in(self, me, msg->conn) != KITH_OK)
        kith_close(self, msg->conn); /* no memory for it now; the others go on */
    return KITH_OK;
}

KITH_ON(hall, take_name)
{
    struct person *owner = person_named(&me->guests, &msg->wanted);
    struct person *asking = person_of(&me->guests, kith_sender(self));
    bool yours = asking != NULL && (owner == NULL || owner == asking);
    if (yours)
        asking->name = msg->wanted;
    kith_reply(self, name_taken, .name = msg->wanted, .yours = yours);
    return KITH_OK;
}

/* The room of that name; if there is none, it is opened. NULL: there is no room for another. */
static struct open_room *room_named(kith_self *self, struct hall *me, const struct name *name)
{
    for (size_t i = 0; i < me->n_rooms; i++)
        if (strcmp(me->rooms[i].name.text, name->text) == 0)
            return &me->rooms[i];
    if (me->n_rooms == ROOMS_MAX)
        return NULL;
    struct open_room opened = {.room = kith_spawn(self, &room, name), .name = *name};
    if (kith_ref_error(opened.room) != KITH_OK)
        return NULL;
    me->rooms[me->n_rooms] = opened;
    return &me->rooms[me->n_rooms++];
}

KITH_ON(hall, join)
{
    struct open_room *wanted = room_named(self, me, &msg->room);
    if (wanted == NULL) {
        kith_reply(self, joined, .name = msg->room);
        return KITH_OK;
    }
    wanted->joins++;
    kith_ref asking = kith_sender(self);
    if (kith_forward(self, wanted->room) != KITH_OK)
        kith_send(self, asking, joined);
    return KITH_OK;
}

/* Stops the room, unless somebody is on the way to it who was forwarded after it said this. */
KITH_ON(hall, room_empty)
{
    for (size_t i = 0; i < me->n_rooms; i++) {
        struct open_room *empty = &me->rooms[i];
        if (!kith_ref_same(empty->room, kith_sender(self)) || empty->joins != msg->joins)
            continue;
        *empty = me->rooms[--me->n_rooms];
        return kith_stop(self, kith_sender(self));
    }
    return KITH_OK;
}

static void forget(struct hall *me, kith_ref who)
{
    struct person *gone = person_of(&me->guests, who);
    if (gone != NULL)
        *gone = me->guests.list[--me->guests.n];
}

KITH_ON(hall, leave)
{
    forget(me, msg->who);
    return KITH_OK;
}

KITH_ON(hall, kith_down)
{
    forget(me, msg->ref);
    return KITH_OK;
}

static const kith_behavior hall = {
    .name = "hall",
    .state_bytes = sizeof(struct hall),
    .init = hall_init,
    .stop = hall_stop,
    .handlers = KITH_HANDLERS(hall, kith_accepted, take_name, join, leave, room_empty, kith_down),
};

static void serve(kith_self *self, kith_co *co, void *arg)
{
    kith_ref open = kith_spawn(self, &hall, arg);
    kith_err err = kith_ref_error(open);
    kith_msg *msg;
    kith_monitor(self, open);
    if (err == KITH_OK && kith_receive(co, KITH_FOREVER, &msg) == KITH_OK)
        err = kith_body(msg, kith_down)->reason; /* until then, it serves */
    fprintf(stderr, "07_chat_server: %s\n", kith_strerror(err));
    kith_fail(self, err);
}

int main(int argc, char **argv)
{
    char *end = "";
    long port = argc > 1 ? strtol(argv[1], &end, 10) : 7008;
    if (argc > 3 || *end != '\0' || port < 0 || port > UINT16_MAX) {
        fprintf(stderr, "usage: 07_chat_server [PORT [ADDRESS]]\n");
        return 2;
    }
    struct address address = {argc > 2 ? argv[2] : "127.0.0.1", (uint16_t)port};
    return kith_main(NULL, serve, &address);
}
