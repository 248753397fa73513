#include <cuda_runtime.h>

#include <csetjmp>
#include <cstdio>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <ucontext.h>
#include <unistd.h>
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

/* ---- streams -------------------------------------------------------------------------------- */

struct emu_work {
    const void *host; /* pinned memory that it needs, or NULL */
    std::function<void()> run;
};
struct emu_stream {
    std::deque<emu_work> work;
    uint64_t done, given; /* pieces of work */
    int device;
};
struct emu_event {
    cudaStream_t stream;
    uint64_t at; /* of the stream's work */
};

namespace {

std::set<emu_stream *> streams;
std::map<const char *, size_t> pinned; /* host memory by its beginning */
thread_local int device_now;

/* The pinned memory that an address lies in, or NULL. */
const void *pinned_at(const void *p) {
    auto it = pinned.upper_bound(static_cast<const char *>(p));
    if (it == pinned.begin() || (--it, static_cast<const char *>(p) >= it->first + it->second))
        return NULL;
    return it->first;
}

void run(emu_stream *s, uint64_t until) {
    for (; s->done < until && !s->work.empty(); s->done++) {
        emu_work piece = std::move(s->work.front());
        s->work.pop_front();
        piece.run();
    }
}

/* A device that is lost does nothing more. */
cudaError_t end_with(cudaError_t e, emu_stream *s, uint64_t until) {
    if (e == cudaSuccess)
        run(s, until);
    else
        s->work.clear();
    return e;
}

void wrong(const char *what) {
    fprintf(stderr, "emulated device: %s\n", what);
    abort();
}

} // namespace

void emu_queue(cudaStream_t stream, bool is_kernel, const void *host, std::function<void()> work) {
    if (is_kernel && stream->device != device_now)
        wrong("a kernel is launched on a stream of another device");
    stream->work.push_back({host, std::move(work)});
    stream->given++;
}

cudaError_t cudaSetDevice(int device) {
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t n) {
    cudaError_t e = cudaMalloc(p, n);
    if (e == cudaSuccess)
        pinned[static_cast<char *>(*p)] = n;
    return e;
}

cudaError_t cudaFree(void *p) {
    for (emu_stream *s : streams)
        (void)end_with(fail_lost && fail_call >= 0 && calls > fail_call ? cudaErrorUnknown
                                                                        : cudaSuccess,
                       s, s->given);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p) {
    for (emu_stream *s : streams)
        for (const emu_work &w : s->work)
            if (p != NULL && w.host == p)
                wrong("pinned memory is freed while a stream needs it");
    pinned.erase(static_cast<char *>(p));
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    cudaError_t e = emu_fault(false);
    if (e != cudaSuccess || n == 0)
        return e;
    if (kind == cudaMemcpyHostToDevice && pinned_at(from) == NULL) {
        std::string bytes(static_cast<const char *>(from), n);
        emu_queue(stream, false, NULL, [=] { memcpy(to, bytes.data(), n); });
        return e;
    }
    emu_queue(stream, false, pinned_at(kind == cudaMemcpyHostToDevice ? from : to),
              [=] { memcpy(to, from, n); });
    if (kind == cudaMemcpyDeviceToHost && pinned_at(to) == NULL)
        run(stream, stream->given);
    return e;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return end_with(emu_fault(false), stream, stream->given);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, int) {
    *ret = new emu_stream{{}, 0, 0, device_now};
    streams.insert(*ret);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, int) {
    *ret = new emu_event{NULL, 0};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    *event = {stream, stream->given};
    return emu_fault(false);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return end_with(emu_fault(false), event->stream, event->at);
}

/* ---- faults --------------------------------------------------------------------------------- */

namespace {

/* What the file named by EMU_FAULT_FILE says for the time that it is there: "lost", "memory", or
 * "hang" until it goes. */
cudaError_t fault_of_file(bool allocates) {
    static const char *path = getenv("EMU_FAULT_FILE");
    static bool lost;
    char word[8] = "";
    for (FILE *f; !lost && path != NULL && (f = fopen(path, "r")) != NULL; usleep(1000)) {
        if (fgets(word, sizeof(word), f) == NULL)
            word[0] = '\0';
        fclose(f);
        lost = word[0] == 'l';
        if (word[0] != 'h')
            break;
    }
    return lost                          ? cudaErrorUnknown
           : word[0] == 'm' && allocates ? cudaErrorMemoryAllocation
                                         : cudaSuccess;
}

} // namespace

cudaError_t emu_fault(bool allocates) {
    cudaError_t by_file = fault_of_file(allocates);
    if (by_file != cudaSuccess)
        return by_file;
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
