/*
 * Enough of CUDA to run the device part of cuda/ on a machine without one: the runtime's calls as
 * plain memory, and each thread of a thread block as a fiber, one block after the other. Barriers,
 * shuffles and votes are meetings of fibers; shared memory is static memory. What a stream has been
 * given waits until something waits for the stream, so memory that is used again too early is seen.
 * What this cannot show is races inside a block and the device's speed.
 *
 * emulate.py rewrites the launches and the dynamic shared memory; all else is the product's text.
 */
#ifndef WEIR_TEST_EMULATED_CUDA_RUNTIME_H
#define WEIR_TEST_EMULATED_CUDA_RUNTIME_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(threads, blocks)

/* ---- threads -------------------------------------------------------------------------------- */

struct emu_index {
    uint32_t x;
};
extern emu_index emu_thread, emu_block, emu_block_dim, emu_grid_dim;
#define threadIdx emu_thread
#define blockIdx emu_block
#define blockDim emu_block_dim
#define gridDim emu_grid_dim

uint32_t *emu_shared(void);
void emu_run(uint32_t grid, uint32_t block, size_t shared, const std::function<void()> &body);
/* All threads of the block meet; the or of their values. */
int emu_meet_block(int value);
/* All lanes of the warp meet; every lane sees every lane's value (32 of them). */
const uint64_t *emu_meet_warp(uint64_t value);

static inline void __syncthreads(void) {
    (void)emu_meet_block(0);
}
static inline int __syncthreads_or(int value) {
    return emu_meet_block(value);
}
static inline void __syncwarp(void) {
    (void)emu_meet_warp(0);
}
template <typename T> static inline T emu_lane(T value, uint32_t lane) {
    uint64_t bits = 0;
    T back;
    memcpy(&bits, &value, sizeof(value));
    bits = emu_meet_warp(bits)[lane % 32];
    memcpy(&back, &bits, sizeof(back));
    return back;
}
template <typename T> static inline T __shfl_sync(uint32_t, T value, uint32_t lane) {
    return emu_lane(value, lane);
}
template <typename T> static inline T __shfl_xor_sync(uint32_t, T value, uint32_t mask) {
    return emu_lane(value, (emu_thread.x % 32) ^ mask);
}
static inline uint32_t __ballot_sync(uint32_t, int value) {
    const uint64_t *all = emu_meet_warp(value != 0);
    uint32_t mask = 0;
    for (uint32_t i = 0; i < 32; i++)
        mask |= (uint32_t)(all[i] != 0) << i;
    return mask;
}
static inline uint32_t __popc(uint32_t v) {
    return (uint32_t)__builtin_popcount(v);
}
static inline uint32_t atomicMin(uint32_t *p, uint32_t v) {
    uint32_t old = *p;
    *p = v < old ? v : old;
    return old;
}

/* ---- streams -------------------------------------------------------------------------------- */

typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
/* host: memory that the work needs until then, or NULL. */
void emu_queue(cudaStream_t stream, bool is_kernel, const void *host, std::function<void()> work);

/* kernel<<<grid, block, shared, stream>>>(arguments) */
template <typename... P> struct emu_launcher {
    void (*kernel)(P...);
    uint32_t grid, block;
    size_t shared;
    cudaStream_t stream;
    void operator()(P... p) const {
        auto launch = *this;
        emu_queue(stream, true, NULL, [=] {
            emu_run(launch.grid, launch.block, launch.shared, [&] { launch.kernel(p...); });
        });
    }
};
template <typename... P>
static inline emu_launcher<P...> emu_launch(void (*kernel)(P...), uint32_t grid, uint32_t block,
                                            size_t shared, cudaStream_t stream) {
    return {kernel, grid, block, shared, stream};
}

/* ---- the runtime ---------------------------------------------------------------------------- */

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
struct cudaDeviceProp {
    char name[256];
};

/* The call from now on that fails, and for lost all after it; or what the file EMU_FAULT_FILE says.
 */
cudaError_t emu_fault(bool allocates);
extern "C" void emu_fail_at(long call, bool lost);

static inline cudaError_t cudaMalloc(void **p, size_t n) {
    cudaError_t e = emu_fault(true);
    *p = e == cudaSuccess ? malloc(n) : NULL;
    return e;
}
cudaError_t cudaMallocHost(void **p, size_t n);
cudaError_t cudaFree(void *p);     /* waits for the device */
cudaError_t cudaFreeHost(void *p); /* does not */
static inline cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) {
    cudaError_t e = emu_fault(false);
    if (e == cudaSuccess && n > 0)
        memcpy(to, from, n);
    return e;
}
/* Plain host memory is read at once, and written before the call returns. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t stream);
static inline cudaError_t cudaGetLastError(void) {
    return emu_fault(false);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, int);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, int);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaSetDevice(int device); /* of the calling thread */
static inline cudaError_t cudaGetDeviceCount(int *n) {
    *n = 2;
    return cudaSuccess;
}
static inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *free_bytes = *total = (size_t)4 << 30;
    return cudaSuccess;
}
static inline cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr, int) {
    *v = 2; /* few, so that loops over the grid are taken */
    return cudaSuccess;
}
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    memcpy(p->name, "emulated device", sizeof("emulated device"));
    return cudaSuccess;
}
static inline const char *cudaGetErrorString(cudaError_t) {
    return "emulated failure";
}

#endif
