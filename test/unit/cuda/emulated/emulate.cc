#include <cuda_runtime.h>

#include <csetjmp>
#include <cstdio>
#include <ucontext.h>
#include <vector>

emu_index emu_thread, emu_block, emu_block_dim, emu_grid_dim;

namespace {

enum { STACK = 64 << 10 };

/* One thread of the running block. */
struct fiber {
    ucontext_t context; /* for the first entry; later switches are jumps, without system calls */
    jmp_buf at;
    char *stack;
    bool begun, done, waits_block, waits_warp;
    int or_value;
};

std::vector<fiber> fibers;
jmp_buf scheduler;
uint32_t current;
const std::function<void()> *running;
std::vector<uint32_t> dynamic_shared;
int block_or;
struct warp {
    uint64_t values[2][32]; /* by turns: a lane may come to the next meeting while others read */
    unsigned turn;
};
std::vector<warp> warps;
long calls, fail_call = -1;
bool fail_lost;

void enter(void) {
    (*running)();
    fibers[current].done = true;
    _longjmp(scheduler, 1);
}

void yield(void) {
    if (_setjmp(fibers[current].at) == 0)
        _longjmp(scheduler, 1);
}

void resume(uint32_t i) {
    current = i;
    emu_thread.x = i;
    if (_setjmp(scheduler) != 0)
        return;
    if (fibers[i].begun)
        _longjmp(fibers[i].at, 1);
    fibers[i].begun = true;
    setcontext(&fibers[i].context);
}

/* Lets those go whose meeting is complete; whether anybody could. */
bool release(void) {
    bool any = false;
    size_t n = fibers.size(), at_barrier = 0, alive = 0;
    for (size_t w = 0; w < n; w += 32) {
        size_t waiting = 0, live = 0;
        for (size_t i = w; i < w + 32 && i < n; i++) {
            live += !fibers[i].done;
            waiting += !fibers[i].done && fibers[i].waits_warp;
        }
        if (live > 0 && waiting == live) {
            warps[w / 32].turn ^= 1;
            for (size_t i = w; i < w + 32 && i < n; i++)
                fibers[i].waits_warp = false;
            any = true;
        }
    }
    for (const fiber &f : fibers) {
        alive += !f.done;
        at_barrier += !f.done && f.waits_block;
    }
    if (alive > 0 && at_barrier == alive) {
        block_or = 0;
        for (fiber &f : fibers) {
            block_or |= !f.done && f.or_value;
            f.waits_block = false;
        }
        any = true;
    }
    return any;
}

void run_block(uint32_t threads) {
    for (uint32_t i = 0; i < threads; i++) {
        fiber &f = fibers[i];
        f.begun = f.done = f.waits_block = f.waits_warp = false;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack;
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = NULL;
        makecontext(&f.context, enter, 0);
    }
    for (bool alive = true; alive;) {
        alive = false;
        bool ran = false;
        for (uint32_t i = 0; i < threads; i++)
            if (!fibers[i].done && !fibers[i].waits_block && !fibers[i].waits_warp) {
                resume(i);
                ran = true;
            }
        ran |= release();
        for (const fiber &f : fibers)
            alive |= !f.done;
        if (alive && !ran) {
            fprintf(stderr, "emulated device: threads of a block wait for each other in vain\n");
            abort();
        }
    }
}

} // namespace

uint32_t *emu_shared(void) {
    return dynamic_shared.data();
}

void emu_run(uint32_t grid, uint32_t block, size_t shared, const std::function<void()> &body) {
    running = &body;
    dynamic_shared.assign(shared / 4 + 1, 0xDEADBEEF);
    fibers.resize(block);
    warps.assign((block + 31) / 32, warp{});
    for (fiber &f : fibers)
        f.stack = static_cast<char *>(malloc(STACK));
    emu_block_dim.x = block;
    emu_grid_dim.x = grid;
    for (emu_block.x = 0; emu_block.x < grid; emu_block.x++)
        run_block(block);
    for (fiber &f : fibers)
        free(f.stack);
}

int emu_meet_block(int value) {
    fibers[current].or_value = value != 0;
    fibers[current].waits_block = true;
    yield();
    return block_or;
}

const uint64_t *emu_meet_warp(uint64_t value) {
    warp &w = warps[current / 32];
    unsigned turn = w.turn;
    w.values[turn][current % 32] = value;
    fibers[current].waits_warp = true;
    yield();
    return warps[current / 32].values[turn];
}

cudaError_t emu_fault(bool allocates) {
    long call = calls++;
    if (fail_call < 0 || call < fail_call || (call > fail_call && !fail_lost))
        return cudaSuccess;
    if (fail_lost)
        return cudaErrorUnknown;
    return allocates ? cudaErrorMemoryAllocation : cudaSuccess;
}

extern "C" __attribute__((visibility("default"))) void emu_fail_at(long call, bool lost) {
    fail_call = call < 0 ? -1 : calls + call;
    fail_lost = lost;
}
