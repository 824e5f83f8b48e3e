/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files of the actor layer share: an actor is a task with a behaviour.
 */
#ifndef KITH__ACTORS_ACTOR_H
#define KITH__ACTORS_ACTOR_H

#include "sched/co.h"
#include "sched/post.h"
#include "sched/runtime.h"
#include <kith/actor.h>

/* An attached thread. Its task stands in a slot as every task does, with its co as its state. */
struct kith__thread {
    struct kith_co co; /* first: a task's state is its co */
    struct kith__ctx ctx;
    pthread_mutex_t lock; /* of ready */
    pthread_cond_t changed;
    bool home;                 /* the loop executor runs on it */
    bool ready;                /* its inbox was woken: the task is the thread's again */
    struct kith__thread *next; /* in the runtime's list, under its lock */
};

/* What the actor layer keeps for a runtime. */
struct kith__actors {
    pthread_mutex_t dead_lock;
    pthread_mutex_t main_lock; /* who looks at main, and its end: deadlock.c */
    KITH__ATOMIC(uint32_t) subscribers;
    uint64_t *subscribed; /* under dead_lock: references */
    uint32_t subscribed_room;

    pthread_mutex_t stop_lock; /* of the tree that a shutdown stops: see shutdown.c */
    uint32_t *children_left;
    uint8_t *counted;
    uint32_t slots;
    KITH__ATOMIC(uint32_t) stop_failed; /* a stop could not be sent: memory was out */
    bool shutdown_runs;                 /* under rt->lock */
    struct kith__thread *threads;       /* under rt->lock */
};

static inline struct kith__actors *kith__actors_of(struct kith_runtime *rt)
{
    return rt->actors;
}

extern const struct kith__task_ops kith__actor_ops;
extern const struct kith__task_ops kith__timed_ops;   /* of all actors in debug mode */
extern const struct kith__task_ops kith__bounded_ops; /* of actors with a bounded mailbox */
extern const struct kith__task_ops kith__thread_ops;

static inline const kith_behavior *kith__behavior_of(const struct kith_self *task)
{
    return kith__load_rlx(&task->behavior); /* relaxed: constant while the task lives */
}

/* What a message's type must have: a name, by which other shared objects' descriptors are matched. */
static inline bool kith__type_ok(const kith_type *type)
{
    return type != NULL && type->name != NULL;
}

/* For logs; behavior may be NULL (a thread). */
const char *kith__name_of(const void *behavior);

/* turn.c */
/* The same message, perhaps by another shared object's descriptor: same name, same size. */
bool kith__same_type(const kith_type *a, const kith_type *b);
/* Hands a message to the handlers of task, whose turn it is. Owns msg. */
void kith__handle_ordinary(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg);
/* The task dies for this reason when its handler returns, unless it has a reason already. */
void kith__task_fail(struct kith_self *task, kith_err reason);
/* Ends the message in hand, if its handler has not given it away. */
static inline void kith__current_end(struct kith__ctx *ctx)
{
    struct kith_msg *msg = ctx->current;
    if (msg == NULL)
        return;
    ctx->current = NULL;
    kith__msg_end(ctx->cache, msg);
}

/* timer.c */
/* The turn is over: the silence of a receive timeout begins. */
void kith__idle_stamp(struct kith__ctx *ctx, struct kith_self *task);

/* life.c */
void kith__die(struct kith__ctx *ctx, struct kith_self *task);
/* Ends what a task has besides its state: what it owns, its watchers, its mailbox; and its slot. */
void kith__task_end(struct kith__ctx *ctx, struct kith_self *task);
/* Sends a stop signal. */
kith_err kith__stop_send(struct kith__ctx *ctx, uint64_t to);

/* dead.c */
/* A message that nobody takes: tells its asker, the subscribers and the log; ends it. */
void kith__dead_letter(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg, kith_err reason);
void kith__dead_unsubscribe(struct kith__ctx *ctx, struct kith_self *task);

/* monitor.c */
extern const struct kith__internal kith__monitor_type;
/* Sends the down messages that wait for this death. */
void kith__watchers_tell(struct kith__ctx *ctx, struct kith_self *task);

/* ask.c */
/* Delivers an answer to the question that `to` names. As kith__post. */
kith_err kith__answer(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg);
/* An answer has arrived: runs the continuation, or drops it if the question has ended. */
void kith__answer_arrived(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg);
/* Tells the asker of msg, if it has one, that there will be no answer. */
void kith__ask_refuse(struct kith__ctx *ctx, struct kith_msg *msg, kith_err reason);

/* The blocking form: sends msg as a question of co's, for which it may wait for room in the mailbox
 * until deadline; co->asked is 0 when it is over. */
kith_err kith__ask_block(struct kith_co *co, uint64_t to, struct kith_msg *msg, kith_time deadline);
/* Ends the question that co waits for, unanswered. */
void kith__ask_give_up(struct kith_co *co);

/* deadlock.c */
/* Whether all wait for ever: then it is reported, and main woken. Outside of rt->lock. */
void kith__deadlock_look(struct kith__ctx *ctx);
/* kith_main's function has returned: main is looked at no more. Thread: main. */
void kith__main_leaves(struct kith_runtime *rt);
/* How the main thread waits: for its inbox, which rests, or for the end of all actors. */
enum { KITH__MAIN_RUNS = 0, KITH__MAIN_RESTS = 1, KITH__MAIN_JOINS = 2 };
/* If ctx is the main thread's: it waits from now on, without a deadline; true if so. It may turn out
 * that it would be for ever. */
bool kith__main_waits(struct kith__ctx *ctx, uint32_t how);
/* If co is the main thread's: it waits no more. By whoever wakes it, before that. */
void kith__main_woken(struct kith_runtime *rt, const struct kith_co *co);

/* thread.c */
kith_err kith__attach(struct kith_runtime *rt, struct kith_co **out);
void kith__detach(struct kith_co *co);

/* runtime.c */
void kith__runtime_free(struct kith_runtime *rt);
/* Whether rt was started and not freed since: what refuses calls after a shutdown. */
bool kith__runtime_lives(const struct kith_runtime *rt);
/* The same, and it is not freed before kith__runtime_unpin. */
bool kith__runtime_pin(struct kith_runtime *rt);
void kith__runtime_unpin(struct kith_runtime *rt);

/* stats.c */
uint64_t kith__actors_alive(struct kith_runtime *rt);
void kith__counters_add(struct kith__counters *sum, const struct kith__counters *of);

/* shutdown.c */
/* The task that lives in a slot, or NULL. */
struct kith_self *kith__task_at(struct kith_runtime *rt, uint32_t slot);
/* Sends a stop; without memory for it, the shutdown that waits sends it again. */
void kith__stop_for_shutdown(struct kith__ctx *ctx, uint64_t task);
/* The actor is dead and its inbox closed: if a shutdown waits for that, goes on with its parent. */
void kith__death_counts(struct kith__ctx *ctx, struct kith_self *task);

/* send.c */
/* As kith__post, for references to questions too. */
static inline kith_err kith__deliver(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg)
{
    if (KITH__UNLIKELY(kith__bits_kind(to) == KITH__KIND_ASK))
        return kith__answer(ctx, to, msg);
    return kith__post(ctx, to, msg);
}

/* The mailbox of task, found by `to`, is bounded: takes room in it and pushes msg. */
kith_err kith__mail_bounded(struct kith__ctx *ctx, struct kith_self *task, uint64_t to,
                            struct kith_msg *msg, kith_time deadline);

/* As kith__deliver, for what counts in a bounded mailbox: KITH_EFULL, too, and, if a co acts, which
 * waits for room until deadline, the errors of a wait. */
static inline kith_err kith__mail(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg,
                                  kith_time deadline)
{
    if (KITH__UNLIKELY(kith__bits_kind(to) == KITH__KIND_ASK))
        return kith__answer(ctx, to, msg);
    struct kith_self *task = kith__post_find(ctx->rt, to);
    if (KITH__UNLIKELY(task == NULL))
        return kith__post_refused(ctx->rt, to);
    if (KITH__UNLIKELY(kith__task_is_bounded(task)))
        return kith__mail_bounded(ctx, task, to, msg, deadline);
    return kith__post_at(ctx, task, to, msg);
}

#endif
