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
 *   kith/net.h      kith_listen, kith_connect, kith_read, kith_write: TCP, as messages or by calls
 *   kith/co.h       kith_receive, kith_ask: what may wait
 *   kith/chan.h     kith_chan, kith_select: values from fiber to fiber
 *   kith/fiber.h    kith_go: actors that are written as one function, and may wait
 *   kith/scope.h    kith_scope_go: fibers that end before whoever started them goes on
 *   kith/gen.h      kith_gen_next: functions that give out values one by one
 *   kith/loop.h     kith_loop_run, kith_loop_fd: kith on one thread, inside another loop
 *   kith/future.h   kith_async, kith_await, kith_gather: results that are not there yet
 *   kith/sync.h     kith_event, kith_semaphore, kith_mutex, kith_barrier, kith_queue
 *   kith/blocking.h kith_blocking: calls that block, on threads of their own
 *   kith/runtime.h  kith_main, kith_start, kith_attach, kith_shutdown: the whole machine
 */
#ifndef KITH_H
#define KITH_H

#include <kith/actor.h>
#include <kith/blocking.h>
#include <kith/chan.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/fiber.h>
#include <kith/future.h>
#include <kith/gen.h>
#include <kith/log.h>
#include <kith/loop.h>
#include <kith/msg.h>
#include <kith/net.h>
#include <kith/ref.h>
#include <kith/runtime.h>
#include <kith/scope.h>
#include <kith/sync.h>
#include <kith/time.h>
#include <kith/timer.h>

#endif
