/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith: a multithreaded actor runtime for C. This header only includes the others.
 *
 *   kith/err.h      kith_err: what every call returns; kith_strerror
 *   kith/time.h     kith_now, kith_in, KITH_SECOND: monotonic nanoseconds, absolute deadlines
 *   kith/ref.h      kith_ref, kith_timer, kith_sock: handles that never dangle
 *   kith/log.h      the replaceable log
 *   kith/msg.h      KITH_MESSAGE: typed messages, their memory and their drop
 *   kith/actor.h    KITH_ON, kith_spawn, kith_send, kith_ask_then, kith_monitor: actors
 *   kith/timer.h    kith_at, kith_every, kith_receive_timeout: messages in the future
 *   kith/net.h      kith_listen, kith_connect, kith_sock_write: TCP as messages
 *   kith/co.h       kith_receive, kith_ask: what may wait
 *   kith/fiber.h    kith_go: actors that are written as one function, and may wait
 *   kith/runtime.h  kith_main, kith_start, kith_attach, kith_shutdown: the whole machine
 */
#ifndef KITH_H
#define KITH_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/fiber.h>
#include <kith/log.h>
#include <kith/msg.h>
#include <kith/net.h>
#include <kith/ref.h>
#include <kith/runtime.h>
#include <kith/time.h>
#include <kith/timer.h>

#endif
