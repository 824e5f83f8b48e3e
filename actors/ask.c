/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Questions: a send whose answer comes back to a continuation, or to a thread that waits.
 *
 * A question is an object with a handle, and that handle is the sender of the message that asks. So
 * whoever answers, now or later, just sends to the sender; and an answer that comes after the
 * question has ended meets a stale handle, is dropped and counted.
 *
 * Invariants
 *  E1. A question is ended exactly once, by its asker's own turn: by the answer, the refusal, the
 *      deadline or the asker's death. Others only read its handle and its asker's.
 *  E2. The continuation runs at most once, in the asker's turn; never after the asker's death.
 *  E3. A question whose message dies unread is refused at once, in that message's memory: refusing
 *      needs none.
 *
 *  Others read `asker` without a lock: its slot may be given to a new question meanwhile. The new
 *  asker's handle is stored with release (E4) after the old handle was killed; the reader acquires
 *  it and then looks at the handle again, so a matching handle means a matching asker. (If it went
 *  wrong, the answer would reach an actor that has no such question, and be dropped.)
 */
#include "actors/actor.h"
#include "sched/timer.h"
#include <string.h>

struct kith__ask {
    struct kith__slot slot;
    struct kith__owned owned;
    KITH__ATOMIC(uint64_t) asker;
    uint64_t target;
    kith_then_fn *then; /* NULL: a thread waits */
    void *arg;
    uint64_t timer; /* bits; 0: no deadline */
};

/* The body of the message that ends a question without an answer. */
struct verdict {
    uint64_t ask;
    int64_t status;
};
_Static_assert(sizeof(struct verdict) <= KITH__BODY_BYTES_MIN, "must fit into any message (E3)");

static struct kith__ask *of_owned(struct kith__owned *owned)
{
    return (struct kith__ask *)(void *)((char *)owned - offsetof(struct kith__ask, owned));
}

static struct kith__ask *find(struct kith__ctx *ctx, const struct kith_self *task, uint64_t bits)
{
    if (kith__bits_kind(bits) != KITH__KIND_ASK)
        return NULL;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, bits);
    if (slot == NULL || kith__load_rlx(&slot->bits) != bits)
        return NULL;
    struct kith__ask *ask = (struct kith__ask *)(void *)slot;
    return kith__load_rlx(&ask->asker) == kith__task_bits(task) ? ask : NULL;
}

/* ---- ending ---- */

static void ask_free(struct kith__ctx *ctx, struct kith__ask *ask)
{
    kith__slot_kill(&ask->slot);
    kith__slot_free(&ctx->rt->table, &ctx->slots, KITH__CLASS_ASK, &ask->slot);
}

/* At the asker's death: its timers end by themselves. */
static void ask_release(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned)
{
    (void)owner;
    ask_free(ctx, of_owned(owned));
}

static void ask_end(struct kith__ctx *ctx, struct kith_self *task, struct kith__ask *ask)
{
    struct kith__timer *timer = kith__timer_find(ctx, task, ask->timer);
    if (timer != NULL)
        kith__timer_end(ctx, task, timer);
    kith__disown(task, &ask->owned);
    ask_free(ctx, ask);
}

/* Ends the question and tells whoever waits. msg is the answer, or NULL. */
static void conclude(struct kith__ctx *ctx, struct kith_self *task, struct kith__ask *ask,
                     kith_err status, struct kith_msg *msg)
{
    kith_then_fn *then = ask->then;
    void *arg = ask->arg;
    struct kith_co *co = kith__co_of(task);
    ask_end(ctx, task, ask);
    if (co != NULL) {
        co->asked = 0;
        co->answer_status = status;
        co->answer = msg;
        co->woke |= KITH__WOKE_FIRED;
        return;
    }
    ctx->current = msg;
    kith_err err = then(task, task->state, arg, status, msg);
    if (err != KITH_OK)
        kith__task_fail(task, err);
    kith__current_end(ctx);
}

void kith__answer_arrived(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith__ask *ask = find(ctx, task, msg->sender);
    if (ask == NULL) {
        kith__count(&ctx->counters.late_replies);
        kith__msg_end(ctx->cache, msg);
        return;
    }
    msg->flags = 0;
    msg->sender = ask->target;
    conclude(ctx, task, ask, KITH_OK, msg);
}

/* ---- refusals and deadlines ---- */

static void verdict_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct verdict verdict;
    memcpy(&verdict, kith__msg_body(msg), sizeof verdict);
    kith__msg_free(ctx->cache, msg);
    struct kith__ask *ask = find(ctx, task, verdict.ask);
    if (ask != NULL)
        conclude(ctx, task, ask, (kith_err)verdict.status, NULL);
}

static void verdict_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal verdict_type = {
    .type = {"verdict", sizeof(struct verdict), NULL},
    .run = verdict_run,
    .dead = verdict_dead,
};

static void verdict_fill(struct kith_msg *msg, uint64_t ask, kith_err status)
{
    struct verdict verdict = {ask, (int64_t)status};
    msg->type = &verdict_type.type;
    msg->flags = KITH__MSG_INTERNAL;
    memcpy(kith__msg_body(msg), &verdict, sizeof verdict);
}

/* Who asked, if the question still stands; else 0. */
static uint64_t asker_of(struct kith__ctx *ctx, uint64_t bits)
{
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, bits);
    if (slot == NULL)
        return 0;
    const struct kith__ask *ask = (const struct kith__ask *)(void *)slot;
    uint64_t asker = kith__load_acq(&ask->asker); /* acquire E4; pairs with ask_new */
    return kith__load_rlx(&slot->bits) == bits ? asker : 0;
}

void kith__ask_refuse(struct kith__ctx *ctx, struct kith_msg *msg, kith_err reason)
{
    uint64_t bits = msg->sender;
    uint64_t asker = asker_of(ctx, bits);
    if (msg->type->drop != NULL)
        msg->type->drop(kith__msg_body(msg));
    verdict_fill(msg, bits, reason); /* E3 */
    if (asker == 0 || kith__post(ctx, asker, msg) != KITH_OK)
        kith__msg_free(ctx->cache, msg);
}

kith_err kith__answer(struct kith__ctx *ctx, uint64_t to, struct kith_msg *msg)
{
    if (kith__bits_tag(to) % KITH__TABLES_MAX != ctx->rt->table.number)
        return KITH_EBADREF;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, to);
    if (slot == NULL)
        return KITH_EBADREF;
    uint64_t asker = asker_of(ctx, to);
    if (asker == 0)
        return kith__slot_was(&ctx->rt->table, slot, to) ? KITH_EDEAD : KITH_EBADREF;
    uint64_t sender = msg->sender;
    msg->sender = to;
    msg->flags = KITH__MSG_REPLY;
    kith_err err = kith__post(ctx, asker, msg);
    if (err != KITH_OK) {
        msg->sender = sender;
        msg->flags = 0;
    }
    return err;
}

/* ---- asking ---- */

static struct kith__ask *ask_new(struct kith__ctx *ctx, struct kith_self *task, uint64_t target)
{
    struct kith__slot *slot =
        kith__slot_alloc(&ctx->rt->table, &ctx->slots, KITH__CLASS_ASK, KITH__KIND_ASK,
                         (sizeof(struct kith__ask) + 63) / 64 * 64);
    if (slot == NULL)
        return NULL;
    struct kith__ask *ask = (struct kith__ask *)(void *)slot;
    ask->target = target;
    ask->then = NULL;
    ask->arg = NULL;
    ask->timer = 0;
    ask->owned.release = ask_release;
    kith__store_rel(&ask->asker, kith__task_bits(task)); /* release E4; pairs with asker_of */
    kith__store_rlx(&slot->bits, kith__slot_bits(&ctx->rt->table, slot, KITH__KIND_ASK));
    kith__own(task, &ask->owned);
    return ask;
}

static bool deadline_set(struct kith__ctx *ctx, struct kith_self *task, struct kith__ask *ask,
                         kith_time deadline)
{
    if (deadline == KITH_FOREVER)
        return true;
    struct kith_msg *msg = kith__msg_make(ctx->cache, sizeof(struct verdict));
    if (msg == NULL)
        return false;
    verdict_fill(msg, kith__load_rlx(&ask->slot.bits), KITH_ETIMEOUT);
    struct kith__timer *timer = kith__timer_set(ctx, task, deadline, 0, msg);
    if (timer == NULL) {
        kith__msg_free(ctx->cache, msg);
        return false;
    }
    ask->timer = kith__load_rlx(&timer->slot.bits);
    return true;
}

/* Sends msg as the question; KITH_OK also if the target is dead: then it is refused. Otherwise the
 * question and msg are ended. A co may wait here, until deadline, for room in the target's mailbox. */
static kith_err ask_send(struct kith__ctx *ctx, struct kith_self *task, struct kith__ask *ask,
                         struct kith_msg *msg, kith_time deadline)
{
    uint64_t to = ask->target;
    msg->sender = kith__load_rlx(&ask->slot.bits);
    kith_err err = kith__mail(ctx, to, msg, deadline);
    if (err == KITH_EDEAD) {
        kith__dead_letter(ctx, to, msg, KITH_EDEAD);
        return KITH_OK;
    }
    if (err != KITH_OK) {
        ask_end(ctx, task, ask);
        kith__msg_free(ctx->cache, msg);
    }
    return err;
}

static struct kith_msg *copy_of(struct kith__ctx *ctx, const kith_type *type, const void *body)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, type->body_bytes);
    if (msg != NULL) {
        msg->type = type;
        memcpy(kith__msg_body(msg), body, type->body_bytes);
    }
    return msg;
}

kith_err kith_ask_then_copy(kith_self *self, kith_ref to, kith_time deadline, kith_then_fn *then,
                            void *arg, const kith_type *type, const void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || (self->flags & KITH__TASK_CO) != 0)
        return KITH_EPERM;
    if (then == NULL || !kith__type_ok(type) || body == NULL)
        return KITH_EINVAL;
    if (kith__bits_kind(to.bits) != KITH__KIND_ACTOR)
        return KITH_EBADREF; /* a question cannot be asked */
    if (type->body_bytes > KITH_MESSAGE_BYTES_MAX)
        return KITH_EMSGSIZE;
    struct kith__ask *ask = ask_new(ctx, self, to.bits);
    if (ask == NULL)
        return KITH_ENOMEM;
    ask->then = then;
    ask->arg = arg;
    struct kith_msg *msg = copy_of(ctx, type, body);
    if (msg == NULL || !deadline_set(ctx, self, ask, deadline)) {
        if (msg != NULL)
            kith__msg_free(ctx->cache, msg);
        ask_end(ctx, self, ask);
        return KITH_ENOMEM;
    }
    return ask_send(ctx, self, ask, msg, KITH_NOWAIT);
}

kith_err kith__ask_block(struct kith_co *co, uint64_t to, struct kith_msg *msg, kith_time deadline)
{
    struct kith__ask *ask = ask_new(co->ctx, co->task, to);
    if (ask == NULL) {
        kith__msg_free(co->ctx->cache, msg);
        return KITH_ENOMEM;
    }
    uint64_t bits = kith__load_rlx(&ask->slot.bits);
    kith_err err = ask_send(co->ctx, co->task, ask, msg, deadline);
    if (err == KITH_OK)
        co->asked = bits;
    return err;
}

void kith__ask_give_up(struct kith_co *co)
{
    struct kith__ask *ask = find(co->ctx, co->task, co->asked);
    if (ask != NULL)
        ask_end(co->ctx, co->task, ask);
    co->asked = 0;
}
