# SPDX-License-Identifier: BSD-2-Clause
#
# kith-gdb.py: shows kith's fibers in gdb, in a process that was stopped and in a core file.
#
#     (gdb) source .../kith-gdb.py
#     (gdb) kith fibers            all fibers, or those of a name: slot, worker, what each waits in
#     (gdb) kith bt 17             the backtrace of one (by slot or by name), or of all
#     (gdb) kith select 17         a suspended fiber's frames in place of the thread's: up, info locals
#     (gdb) kith select none       the thread's own again; so does every continue or step
#
# Nothing is written to the process. A suspended fiber's registers stand in the frame that
# kith__context_swap left (csp/switch_*.S); an unwinder gives them to gdb as those of the caller of
# the selected thread's innermost frame, so gdb itself walks on from there.
#
# Needs the debug information of kith (CMAKE_BUILD_TYPE=RelWithDebInfo). gdb 13 and later.
import re
import struct

import gdb
import gdb.unwinder

KIND_ACTOR = 1
RT_BITS = 4
CHUNK_SLOTS = 256
GEN_RUNNING = 1  # enum gen_state


def static_symbol(name, source):
    """The value of a static variable or function of one of kith's files."""
    for symbol in gdb.lookup_static_symbols(name):
        if symbol.symtab.filename.endswith(source):
            return symbol.value()
    raise gdb.GdbError("no debug information of kith's %s: build it with -g" % source)


def field_offset(type_name, field):
    return gdb.lookup_type(type_name)[field].bitpos // 8


def pointers(type_name):
    return gdb.lookup_type(type_name).pointer()


# ---- what a suspended context has saved ----


def words(address, count):
    memory = gdb.selected_inferior().read_memory(address, 8 * count)
    return struct.unpack("%dQ" % count, memory)


def saved_x86_64(sp):
    s = words(sp, 8)
    return {"rip": s[7], "rsp": sp + 64, "rbp": s[6], "rbx": s[5], "r12": s[4], "r13": s[3],
            "r14": s[2], "r15": s[1]}


def saved_aarch64(sp):
    s = words(sp, 22)
    saved = {"x%d" % (19 + i): s[2 + i] for i in range(10)}
    saved.update({"x29": s[0], "x30": s[1], "pc": s[1], "sp": sp + 176})
    return saved


def saved_ucontext(sp, arch):
    context = gdb.Value(sp).cast(pointers("ucontext_t")).dereference()["uc_mcontext"]
    if "x86-64" in arch:
        names = {"r12": 4, "r13": 5, "r14": 6, "r15": 7, "rbp": 10, "rbx": 11, "rsp": 15, "rip": 16}
        return {name: int(context["gregs"][i]) for name, i in names.items()}
    saved = {"x%d" % i: int(context["regs"][i]) for i in range(19, 31)}
    saved.update({"sp": int(context["sp"]), "pc": int(context["pc"])})
    return saved


def saved_registers(sp):
    arch = gdb.selected_inferior().architecture().name()
    if "x86-64" not in arch and "aarch64" not in arch:
        raise gdb.GdbError("fibers of %s are not known here" % arch)
    try:
        gdb.parse_and_eval("&kith__context_start")
    except gdb.error:
        return saved_ucontext(sp, arch)
    return saved_x86_64(sp) if "x86-64" in arch else saved_aarch64(sp)


# ---- fibers ----


class Fiber:
    def __init__(self, runtime, task, control, threads):
        self.task = task
        self.control = control.dereference()
        self.slot = int(task["slot"]["bits"]) >> 31 & (1 << 26) - 1
        self.name = self.control["kind"]["behavior"]["name"].string(errors="replace")
        stack = self.control["stack"].dereference()
        self.low, self.high = int(stack["low"]), int(stack["high"])
        self.guard = int(stack["slab"]["guard_bytes"])
        begun = int(self.control["back"]) != 0
        self.worker = int(task["wheel"]) if begun else None  # T3 of sched/task.h
        self.thread = self.thread_on_it(threads)
        self.generates = False
        self.sp = self.thread[1] if self.thread else self.suspended_at(runtime)

    def thread_on_it(self, threads):
        """The thread whose stack pointer is in the fiber's stack, or in the guard: (thread, sp)."""
        for thread, sp in threads:
            if self.low - self.guard <= sp <= self.high:
                return thread, sp
        return None

    def suspended_at(self, runtime):
        """Its context's sp; if a generator of its runs, that of the generator's way back."""
        own = int(self.control["context"]["sp"])
        if self.worker is None:
            return own
        if int(runtime["workers"][self.worker]["ctx"]["running"]) != int(self.task.address):
            return own
        first = owned = self.task["owned"]
        while int(owned) != 0:
            if "gen_release" in str(owned["release"]):
                gen = owned.cast(pointers("struct kith_gen"))
                back = int(gen["back"]["sp"])
                if int(gen["state"]) == GEN_RUNNING and self.low <= back <= self.high:
                    self.generates = True
                    return back
            owned = owned["next"]
            if owned == first:
                break
        return own

    def state(self):
        if self.thread:
            return "runs on thread %d" % self.thread[0].num
        if self.worker is None:
            return "has not begun"
        if self.generates:
            return "runs a generator"
        where = self.control["co"]["where"]
        if int(where) == 0:
            return "is ready"
        return "waits in %s" % where.string(errors="replace")

    def title(self):
        return "fiber %d %s, worker %s, %s" % (
            self.slot, self.name, "-" if self.worker is None else self.worker, self.state())


def threads_here():
    """All threads with their stack pointers."""
    selected = gdb.selected_thread()
    found = []
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        found.append((thread, int(gdb.newest_frame().read_register("sp"))))
    selected.switch()
    return found


def tasks_of(runtime, ops):
    """Those whose ops these are, in the order of their slots."""
    table = runtime["table"]
    self_type = gdb.lookup_type("struct kith_self")
    at = [field_offset("struct kith_self", name) for name in ("slot", "ops")]
    for i in range(int(table["first_chunk"]), int(table["chunk_count"])):
        chunk = table["chunks"][i]
        base, size = int(chunk["base"]), int(chunk["bytes"])
        if base == 0 or int(chunk["tag"]) >> RT_BITS != KIND_ACTOR:
            continue
        memory = bytes(gdb.selected_inferior().read_memory(base, size * CHUNK_SLOTS))
        for offset in range(0, size * CHUNK_SLOTS, size):
            bits, its = (struct.unpack_from("Q", memory, offset + a)[0] for a in at)
            if bits >> 61 == KIND_ACTOR and its == ops:
                yield gdb.Value(base + offset).cast(self_type.pointer()).dereference()


def all_fibers(wanted=None):
    """wanted: a slot or a name as the user wrote it; None or "all": every one. Says how many there are
    whose stacks cannot be read: gdb's generate-core-file leaves out a mapping that has guards."""
    if gdb.selected_thread() is None:
        raise gdb.GdbError("no process")
    live = static_symbol("live", "actors/runtime.c")
    ops = int(gdb.parse_and_eval("(unsigned long) &kith__fiber_ops"))
    threads = threads_here()
    unwinder.disarm()
    unreadable = 0
    for i in range(live.type.range()[1] + 1):
        if int(live[i]) == 0:
            continue
        runtime = live[i].dereference()
        for task in tasks_of(runtime, ops):
            control = task["state"].cast(pointers("struct kith__fiber"))
            try:
                if int(control["co"]["task"]) != int(task.address):
                    continue  # it is being made
                fiber = Fiber(runtime, task, control, threads)
            except gdb.MemoryError:
                unreadable += 1
                continue
            if wanted in (None, "all", fiber.name, str(fiber.slot)):
                yield fiber
    if unreadable > 0:
        gdb.write("(%d more: their stacks cannot be read)\n" % unreadable)


# ---- the unwinder ----


class FrameId:
    def __init__(self, sp, pc):
        self.sp = gdb.Value(sp)
        self.pc = gdb.Value(pc)


class FiberUnwinder(gdb.unwinder.Unwinder):
    """Armed, the caller of the selected thread's innermost frame is where a fiber goes on."""

    def __init__(self):
        super().__init__("kith")
        self.saved = None

    def arm(self, saved):
        self.disarm()
        frame = gdb.newest_frame()
        self.thread = gdb.selected_thread().ptid
        self.sp = int(frame.read_register("sp"))
        self.saved = saved
        gdb.invalidate_cached_frames()

    def disarm(self):
        if self.saved is not None:
            self.saved = None
            gdb.invalidate_cached_frames()

    def __call__(self, pending):
        if self.saved is None or gdb.selected_thread().ptid != self.thread:
            return None
        if int(pending.read_register("sp")) != self.sp:
            return None  # one of the fiber's own frames
        long = gdb.lookup_type("unsigned long")
        low = self.saved.get("rsp", self.saved.get("sp")) - 16  # callers lie above
        info = pending.create_unwind_info(FrameId(low, int(pending.read_register("pc"))))
        for name, value in self.saved.items():
            info.add_saved_register(name, gdb.Value(value & (1 << 64) - 1).cast(long))
        return info


unwinder = FiberUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)
gdb.events.cont.connect(lambda event: unwinder.disarm())


def innermost():
    """The level of the thread's own frame; less are functions inlined there."""
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    return frame.level()


def print_suspended(fiber):
    unwinder.arm(saved_registers(fiber.sp))
    try:
        own = innermost()
        text = gdb.execute("backtrace", to_string=True)
        frames = re.split(r"^(?=#)", text, flags=re.MULTILINE)[own + 2:]
        for frame in frames:
            number, rest = re.match(r"#(\d+)(.*)", frame, re.DOTALL).groups()
            gdb.write("#%-2d%s" % (int(number) - own - 1, " " + rest.lstrip(" ")))
    finally:
        unwinder.disarm()


def print_running(fiber):
    selected = gdb.selected_thread()
    fiber.thread[0].switch()
    try:
        gdb.execute("backtrace")
    finally:
        selected.switch()


# ---- the commands ----


class Kith(gdb.Command):
    """Fibers of kith: kith fibers, kith bt, kith select."""

    def __init__(self):
        super().__init__("kith", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class KithFibers(gdb.Command):
    """kith fibers [NAME]: lists the fibers of all runtimes.
For each: its slot, its worker, its name, how much of its stack it uses now and of how much, and what
it does."""

    def __init__(self):
        super().__init__("kith fibers", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        count = 0
        for fiber in all_fibers(arg.strip() or None):
            if count == 0:
                gdb.write("%8s %6s %8s %8s  %-20s %s\n"
                          % ("slot", "worker", "used", "stack", "name", "what it does"))
            worker = "-" if fiber.worker is None else fiber.worker
            gdb.write("%8d %6s %8d %8d  %-20s %s\n"
                      % (fiber.slot, worker, fiber.high - fiber.sp, fiber.high - fiber.low,
                         fiber.name, fiber.state()))
            count += 1
        gdb.write("%d fibers\n" % count)


class KithBt(gdb.Command):
    """kith bt SLOT|NAME|all: prints the backtraces of fibers, suspended or running."""

    def __init__(self):
        super().__init__("kith bt", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        if not arg.strip():
            raise gdb.GdbError("kith bt SLOT|NAME|all")
        fibers = list(all_fibers(arg.strip()))
        if not fibers:
            raise gdb.GdbError("no such fiber")
        for fiber in fibers:
            gdb.write(fiber.title() + "\n")
            if fiber.thread:
                print_running(fiber)
            else:
                print_suspended(fiber)


class KithSelect(gdb.Command):
    """kith select SLOT|NAME|none: looks at a suspended fiber.
Its frames stand above the innermost one of the selected thread, where this goes. It ends by `kith
select none`, and when the process runs on."""

    def __init__(self):
        super().__init__("kith select", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        if arg.strip() == "none":
            unwinder.disarm()
            gdb.execute("frame 0")
            return
        fibers = list(all_fibers(arg.strip()))
        if len(fibers) != 1:
            raise gdb.GdbError("%d such fibers: kith select SLOT|NAME|none" % len(fibers))
        if fibers[0].thread:
            raise gdb.GdbError("it runs: thread %d" % fibers[0].thread[0].num)
        unwinder.arm(saved_registers(fibers[0].sp))
        gdb.execute("frame %d" % (innermost() + 1))


Kith()
KithFibers()
KithBt()
KithSelect()
